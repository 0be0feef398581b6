//! The server's errors (<https://mariadb.com/kb/en/mariadb-error-codes/>) as our kinds.

use crate::Error;
use sqlx::mysql::MySqlDatabaseError;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn classify(error: sqlx::Error, place: &Arc<str>) -> Error {
    let place = Arc::clone(place);
    let unreachable =
        |reason: String| Error::Unreachable { place: Arc::clone(&place), reason, waited: Duration::ZERO };
    match error {
        sqlx::Error::Io(source) => unreachable(source.to_string()),
        sqlx::Error::PoolTimedOut => unreachable("all its connections are in use".to_owned()),
        sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => unreachable("it was closed".to_owned()),
        // An answer that was cut off in the middle.
        sqlx::Error::Protocol(reason) => unreachable(reason),
        sqlx::Error::Tls(reason) => Error::Refused {
            place,
            reason: format!(
                "{reason}: name the authority that signed the server's certificate with ?ssl-ca=FILE, or say \
                 with ssl-mode how much proof is needed"
            ),
        },
        sqlx::Error::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => by_number(error.number(), error.message().to_owned(), place),
            None => Error::Refused { place, reason: error.to_string() },
        },
        error @ (sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)) => Error::Corrupt { place, reason: error.to_string() },
        error => Error::Refused { place, reason: error.to_string() },
    }
}

fn by_number(number: u16, reason: String, place: Arc<str>) -> Error {
    let waited = Duration::ZERO;
    match number {
        // ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME.
        1062 | 1586 => Error::Duplicate { place, reason },
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_CHECKREAD (the row has changed since it was read).
        1205 | 1213 | 1020 => Error::Deadlock { place, reason },
        // ER_CON_COUNT_ERROR, ER_SERVER_SHUTDOWN, ER_NORMAL_SHUTDOWN, ER_NEW_ABORTING_CONNECTION,
        // ER_TOO_MANY_USER_CONNECTIONS, ER_QUERY_INTERRUPTED, ER_CONNECTION_KILLED, ER_UNKNOWN_COM_ERROR (Galera:
        // the node is not ready), CR_SERVER_GONE_ERROR, CR_SERVER_LOST.
        1040 | 1053 | 1077 | 1184 | 1203 | 1317 | 1927 | 1047 | 2006 | 2013 => {
            Error::Unreachable { place, reason, waited }
        }
        // ER_DBACCESS_DENIED_ERROR, ER_ACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR,
        // ER_COLUMNACCESS_DENIED_ERROR, ER_SPECIFIC_ACCESS_DENIED_ERROR, ER_ACCESS_DENIED_NO_PASSWORD_ERROR,
        // ER_HOST_IS_BLOCKED, ER_HOST_NOT_PRIVILEGED.
        1044 | 1045 | 1142 | 1143 | 1227 | 1698 | 1129 | 1130 => Error::Denied { place, reason },
        // ER_OPTION_PREVENTS_STATEMENT: the server is read only, a replica for one.
        1290 => Error::NotWritable { place, reason },
        // ER_DISK_FULL, ER_RECORD_FILE_FULL.
        1021 | 1114 => Error::NoSpace { place },
        // ER_NOT_KEYFILE, ER_OLD_KEYFILE, ER_CRASHED_ON_USAGE, ER_CRASHED_ON_REPAIR, ER_INDEX_CORRUPT, ER_GET_ERRNO.
        1034 | 1035 | 1194 | 1195 | 1712 | 1030 => Error::Corrupt { place, reason },
        _ => Error::Refused { place, reason: format!("{reason} (error {number})") },
    }
}
