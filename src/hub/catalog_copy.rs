//! Moving a catalog to another place: a file, or a server that several hubs share.
//!
//! It is done beside every hub, not by one: none may run on either catalog meanwhile, and the copy refuses what
//! shows that one does. The catalog that is left stays as it is.
//!
//! Not here: the copy itself (`catalog`).

use crate::{CatalogFault, Error, Result};
use catalog::{Catalog, Location};

/// What a table of the catalog holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedTable {
    /// Its name.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// BLAKE3 over all of its values, in the order of its keys; hexadecimal.
    pub blake3: String,
}

/// Copies everything that the catalog at `from` holds into the one at `to`, which is made where it is missing and
/// must be empty, and compares the two. With `dry_run` both are opened and looked at, and no row is written.
/// `tell` hears of each table before it is copied.
///
/// # Errors
/// [`Error::Conflict`] where somebody works in the old catalog or the new one is not empty; where one can't be
/// used. The new one is empty then.
pub async fn copy_catalog(
    from: &Location,
    to: &Location,
    dry_run: bool,
    tell: impl FnMut(&'static str),
) -> Result<Vec<CopiedTable>> {
    if let Some(path) = from.file()
        && !path.is_file()
    {
        let reason = format!("there is no catalog at {}", path.display());
        return Err(Error::Catalog { reason, fault: CatalogFault::Other });
    }
    let source = Catalog::open_at(from).await?;
    let contents = if dry_run {
        // A file that is not there yet is made by the copy, and not by looking.
        let missing = to.file().is_some_and(|path| !path.exists());
        if !missing && !Catalog::open_at(to).await?.is_empty().await? {
            let message = format!("the catalog {to} is not empty");
            return Err(Error::Conflict { message, hint: "copy into a new one".to_owned() });
        }
        source.contents().await?
    } else {
        let target = Catalog::open_at(to).await?;
        let copied = source.copy_into(&target, tell).await;
        target.close().await;
        copied?
    };
    source.close().await;
    let table = |content: catalog::TableContent| CopiedTable {
        table: content.table,
        rows: content.rows,
        blake3: content.blake3,
    };
    Ok(contents.into_iter().map(table).collect())
}
