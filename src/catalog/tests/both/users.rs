//! Users and tokens: there is always an administrator, and what takes rights away takes the tokens with it.

use crate::samples::{second, token, user, user_name, vm_name};
use catalog::{Catalog, Error, Token, TokenFilter, TokenKind, User, UserChange};
use jiff::Timestamp;
use model::Role;

async fn revoked(catalog: &Catalog, id: &str) -> Option<Timestamp> {
    catalog.token_by_hash(&format!("hash of {id}")).await.unwrap().unwrap().0.revoked_at
}

#[tokio::test]
async fn users_come_out_as_they_went_in_and_their_names_are_taken_once() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let viewer = user("a.viewer", Role::Viewer);
    let admin = User { created_at: second(9), ..user("admin", Role::Admin) };
    catalog.insert_user(&viewer, false).await.unwrap();
    catalog.insert_user(&admin, true).await.unwrap();
    assert_eq!(catalog.users().await.unwrap(), [admin.clone(), viewer.clone()], "the newest come first");
    assert_eq!(catalog.user(&admin.name).await.unwrap(), Some(admin.clone()));
    assert_eq!(catalog.user(&user_name("nobody")).await.unwrap(), None);
    let error = catalog.insert_user(&viewer, false).await.unwrap_err();
    assert_eq!(error.to_string(), "the user a.viewer exists already");
    let error = catalog.insert_user(&user("second", Role::Admin), true).await.unwrap_err();
    assert_eq!(error.to_string(), "the administrator admin exists already");
    catalog.insert_user(&user("second", Role::Admin), false).await.unwrap();
    assert!(!format!("{admin:?}").contains("argon2id"));
}

#[tokio::test]
async fn two_first_administrators_at_once_are_one() {
    let Some(fixture) = super::fixture().await else { return };
    let tries = (0..6).map(|n| {
        let catalog = fixture.catalog.clone();
        tokio::spawn(
            async move { catalog.insert_user(&user(&format!("admin-{n}"), Role::Admin), true).await },
        )
    });
    let mut made = 0;
    for task in tries.collect::<Vec<_>>() {
        match task.await.unwrap() {
            Ok(()) => made += 1,
            Err(error) => assert!(matches!(error, Error::AlreadyExists { .. }), "{error}"),
        }
    }
    assert_eq!((made, fixture.catalog.users().await.unwrap().len()), (1, 1));
}

#[tokio::test]
async fn the_last_administrator_stays_one() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    for (name, role) in [("one", Role::Admin), ("two", Role::Admin), ("op", Role::Operator)] {
        catalog.insert_user(&user(name, role), false).await.unwrap();
    }
    let demoted = UserChange { role: Some(Role::Operator), ..UserChange::default() };
    let disabled = UserChange { disabled: Some(true), ..UserChange::default() };
    let (one, two) = (user_name("one"), user_name("two"));
    let changed = catalog.change_user(&two, &disabled, second(9)).await.unwrap();
    assert_eq!((changed.disabled, changed.updated_at, changed.role), (true, second(9), Role::Admin));
    for error in [
        catalog.change_user(&one, &demoted, second(9)).await.unwrap_err(),
        catalog.change_user(&one, &disabled, second(9)).await.unwrap_err(),
        catalog.remove_user(&one, second(9)).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::LastAdmin { .. }), "{error}");
    }
    assert_eq!(catalog.user(&one).await.unwrap(), Some(user("one", Role::Admin)));
    // One that is disabled does not count, and may go.
    catalog.remove_user(&two, second(9)).await.unwrap();
    catalog
        .change_user(
            &user_name("op"),
            &UserChange { role: Some(Role::Admin), ..UserChange::default() },
            second(9),
        )
        .await
        .unwrap();
    catalog.change_user(&one, &demoted, second(9)).await.unwrap();
    let error = catalog.remove_user(&two, second(9)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "user", .. }), "{error}");
}

#[tokio::test]
async fn tokens_end_with_what_they_stand_on() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let people: Vec<User> = ["admin", "a", "b", "c"].map(|name| user(name, Role::Admin)).into();
    for person in &people {
        catalog.insert_user(person, false).await.unwrap();
        let name = person.name.as_str();
        let login = token(&format!("login-{name}"), TokenKind::Login, Some(name));
        assert!(catalog.log_in(person, &login, second(0)).await.unwrap());
        catalog.insert_token(&token(&format!("api-{name}"), TokenKind::Api, Some(name))).await.unwrap();
    }
    catalog.insert_token(&token("api-machine", TokenKind::Api, None)).await.unwrap();
    let other = UserChange { password_hash: Some("other".into()), ..UserChange::default() };
    catalog.change_user(&people[1].name, &other, second(5)).await.unwrap();
    let disabled = UserChange { disabled: Some(true), ..UserChange::default() };
    catalog.change_user(&people[2].name, &disabled, second(6)).await.unwrap();
    catalog.remove_user(&people[3].name, second(7)).await.unwrap();
    for (id, at) in [
        ("login-admin", None),
        ("api-admin", None),
        ("login-a", Some(second(5))),
        ("api-a", None),
        ("login-b", Some(second(6))),
        ("api-b", Some(second(6))),
        ("login-c", Some(second(7))),
        ("api-c", Some(second(7))),
        ("api-machine", None),
    ] {
        assert_eq!(revoked(catalog, id).await, at, "{id}");
    }
    // Who is let in again has to log in again, and a login whose password was right before its change gets nothing.
    let enabled = UserChange { disabled: Some(false), ..UserChange::default() };
    catalog.change_user(&people[2].name, &enabled, second(8)).await.unwrap();
    assert_eq!(revoked(catalog, "login-b").await, Some(second(6)));
    let late = token("late", TokenKind::Login, Some("a"));
    assert!(!catalog.log_in(&people[1], &late, second(0)).await.unwrap());
    assert_eq!(catalog.token_by_hash(&late.hash).await.unwrap(), None);
    // A user of an old name does not get the tokens of old.
    catalog.insert_user(&user("c", Role::Viewer), false).await.unwrap();
    assert_eq!(revoked(catalog, "api-c").await, Some(second(7)));
}

#[tokio::test]
async fn tokens_are_found_by_their_hash_listed_used_and_revoked() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let admin = user("admin", Role::Admin);
    catalog.insert_user(&admin, true).await.unwrap();
    let web = Token {
        vms: Some(vec![vm_name("web"), vm_name("Büro")]),
        ..token("web", TokenKind::Api, Some("admin"))
    };
    catalog.insert_token(&web).await.unwrap();
    let error =
        catalog.insert_token(&Token { id: "2".into(), hash: "x".into(), ..web.clone() }).await.unwrap_err();
    assert_eq!(error.to_string(), "the token web exists already");
    let login = Token { created_at: second(1), ..token("login", TokenKind::Login, Some("admin")) };
    assert!(catalog.log_in(&admin, &login, second(0)).await.unwrap());
    let (found, owner) = catalog.token_by_hash(&web.hash).await.unwrap().unwrap();
    let seen = User { last_login_at: Some(second(1)), ..admin.clone() };
    assert_eq!((found, owner), (web.clone(), Some(seen)));
    assert_eq!(catalog.token_by_hash("hash of nothing").await.unwrap(), None);

    catalog.note_token_use("web", second(60)).await.unwrap();
    let all = TokenFilter { limit: 10, ..TokenFilter::default() };
    let listed = catalog.tokens(&all).await.unwrap();
    let used = Token { last_used_at: Some(second(60)), ..web.clone() };
    assert_eq!((listed.items, listed.total), (vec![login.clone(), used.clone()], 2));
    for (filter, ids) in [
        (TokenFilter { kind: Some(TokenKind::Api), ..all.clone() }, &["web"][..]),
        (TokenFilter { kind: Some(TokenKind::Login), valid_at: Some(second(9)), ..all.clone() }, &["login"]),
        (TokenFilter { valid_at: Some(second(3600)), ..all.clone() }, &[]),
        (TokenFilter { user: Some(user_name("other")), ..all.clone() }, &[]),
        (TokenFilter { limit: 1, offset: 1, ..all.clone() }, &["web"]),
    ] {
        let page = catalog.tokens(&filter).await.unwrap();
        assert_eq!(page.items.iter().map(|token| token.id.as_str()).collect::<Vec<_>>(), ids, "{filter:?}");
    }

    assert_eq!(catalog.revoke_token("web", second(70)).await.unwrap(), used);
    catalog.revoke_token("web", second(80)).await.unwrap();
    assert_eq!(revoked(catalog, "web").await, Some(second(70)), "the first time counts");
    let error = catalog.revoke_token("nothing", second(70)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "token", .. }), "{error}");
    // The name is free again.
    catalog.insert_token(&Token { id: "3".into(), hash: "y".into(), ..web }).await.unwrap();
    // Logins that ended long ago are forgotten with the next login.
    let next = Token {
        created_at: second(9000),
        expires_at: second(9999),
        ..token("next", TokenKind::Login, Some("admin"))
    };
    assert!(
        catalog
            .log_in(&catalog.user(&admin.name).await.unwrap().unwrap(), &next, second(4000))
            .await
            .unwrap()
    );
    assert_eq!(catalog.token_by_hash(&login.hash).await.unwrap(), None);
}
