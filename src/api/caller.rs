//! Who makes a request, as an extension of it.
//!
//! A transport puts two things into a request's extensions: the [`Peer`], always, and a [`Caller`] where the
//! connection alone is a credential: in-process, or a Unix socket whose peer is the hub's own user or root.
//! The router makes callers of tokens, and refuses requests that have none, however they came. Extensions are not
//! part of the wire, so nobody can send one. How a token becomes a caller is not here (`hub`).

use jiff::Timestamp;
use model::{Role, UserName, VmName};
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Who makes a request, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is.
    pub who: Who,
    /// What it may do.
    pub role: Role,
    /// The only VMs that exist for it; all where `None`.
    pub vms: Option<Arc<BTreeSet<VmName>>>,
    /// Until when its token is valid, where it has one.
    pub expires_at: Option<Timestamp>,
}

/// Somebody that makes requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user of the hub's machine, known by the connection.
    Local {
        /// Their number.
        uid: u32,
    },
    /// A user who has logged in.
    User {
        /// Their name.
        name: UserName,
        /// The id of the login's token.
        token_id: String,
    },
    /// A program with an API token.
    Token {
        /// What the token is called.
        label: String,
        /// Its id.
        token_id: String,
        /// The user who has made it.
        user: Option<UserName>,
    },
}

impl Caller {
    /// A user of the hub's machine, who may do everything.
    pub fn local(uid: u32) -> Self {
        Caller { who: Who::Local { uid }, role: Role::Admin, vms: None, expires_at: None }
    }

    /// The program that the hub is embedded in.
    pub fn embedded() -> Self {
        Caller::local(rustix::process::geteuid().as_raw())
    }

    /// Whether that VM exists for the caller.
    pub fn sees(&self, vm: &VmName) -> bool {
        self.vms.as_ref().is_none_or(|vms| vms.contains(vm))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Local { uid } => write!(f, "uid {uid}"),
            Who::User { name, .. } => name.fmt(f),
            Who::Token { label, .. } => write!(f, "token {label}"),
        }
    }
}

/// The other end of the connection that a request came over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The program that the hub is embedded in.
    Process,
    /// A process of this machine, over a Unix socket.
    Socket {
        /// Its user.
        uid: u32,
    },
    /// A machine, over TCP.
    Network {
        /// Its address.
        address: IpAddr,
    },
}

impl Peer {
    /// Whom the connection alone proves the peer to be: the hub's own user (`own`) and root may do what the
    /// hub may; nobody else is known by a connection.
    pub fn caller(self, own: u32) -> Option<Caller> {
        match self {
            Peer::Process => Some(Caller::embedded()),
            Peer::Socket { uid } if uid == own || uid == 0 => Some(Caller::local(uid)),
            Peer::Socket { .. } | Peer::Network { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Process => f.write_str("process"),
            Peer::Socket { uid } => write!(f, "uid {uid}"),
            Peer::Network { address } => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_hubs_own_user_and_root_are_known_by_their_connection() {
        let network = Peer::Network { address: IpAddr::from([127, 0, 0, 1]) };
        for (peer, known) in [
            (Peer::Process, true),
            (Peer::Socket { uid: 0 }, true),
            (Peer::Socket { uid: 990 }, true),
            (Peer::Socket { uid: 1000 }, false),
            (network, false),
        ] {
            assert_eq!(peer.caller(990).is_some(), known, "{peer}");
        }
    }

    #[test]
    fn a_caller_with_a_filter_sees_those_vms_and_no_other() {
        let name = |text: &str| VmName::new(text).unwrap();
        let all = Caller::local(0);
        let some = Caller { vms: Some(Arc::new([name("web")].into())), ..all.clone() };
        assert!(all.sees(&name("web")) && all.sees(&name("db")));
        assert!(some.sees(&name("web")) && !some.sees(&name("Web")) && !some.sees(&name("web2")));
    }
}
