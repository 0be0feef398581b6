//! Who makes a request, as an extension of it.
//!
//! A transport puts two things into a request's extensions: the [`Peer`], always, and a [`Caller`] where the
//! connection alone is a credential: in-process, or a Unix socket whose peer is the hub's own user or root.
//! The router refuses requests that have no caller, however they came. Extensions are not part of the wire, so
//! nobody can send one. How a token becomes a caller is not here.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;

/// What a caller may do; each role includes the ones before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look.
    Viewer,
    /// May restore too.
    Restorer,
    /// May back up, delete and change VMs too.
    Operator,
    /// May do everything.
    Admin,
}

/// The peer of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// What it may do.
    pub role: Role,
}

impl Caller {
    /// The program that the hub is embedded in.
    pub fn embedded() -> Self {
        Caller { role: Role::Admin }
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
            Peer::Socket { uid } if uid == own || uid == 0 => Some(Caller { role: Role::Admin }),
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
}
