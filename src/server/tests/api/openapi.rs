//! The document and the list of endpoints.

use crate::support::Site;
use serde_json::Value;

#[test]
fn the_checked_in_document_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi/openapi.json");
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        kept == server::document().unwrap(),
        "openapi/openapi.json is not up to date: run cargo xtask generate openapi"
    );
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    let document: Value = serde_json::from_str(&server::document().unwrap()).unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut open = vec![&document];
    let mut seen = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let name = reference.strip_prefix("#/components/schemas/").unwrap();
                    assert!(schemas.contains_key(name), "{reference}");
                    seen += 1;
                }
                open.extend(object.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(seen > 100, "{seen} references");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hub_serves_its_document_and_lists_its_endpoints() {
    let site = Site::new().await;
    let served = site.send(None, "GET", "/openapi.json", String::new()).await;
    let document: Value = serde_json::from_str(&server::document().unwrap()).unwrap();
    assert_eq!(served.body, document);
    let listed = site.client.endpoints().await.unwrap().debug_data.endpoints;
    let operations: usize =
        document["paths"].as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(listed.len(), operations);
    assert!(listed.iter().any(|e| e.method == "DELETE" && e.path == "/api/v1/backups/{id}"));
}
