//! The end of an image in work: what makes a file of clusters an image.

use crate::entry::COPIED;
use crate::error::usage;
use crate::layout::Layout;
use crate::output::Output;
use block::Result;

/// Writes the L1 table (of the offsets of the L2 tables, 0 where there is none) and the refcount table, waits for the
/// disk, writes the header, and waits again; returns the file's length. Before the header is written the file does
/// not begin as an image does, after it the image is durable.
///
/// # Errors
/// Where something could not be written; `output` then removes the file when it is dropped.
pub(crate) fn seal(
    output: &Output,
    layout: &Layout,
    l2_tables: impl Iterator<Item = u64>,
    refcount_blocks: &[u64],
) -> Result<u64> {
    let cluster_size = layout.format.cluster_size();
    let table_length = layout.refcount_table_clusters * cluster_size;
    if refcount_blocks.len() as u64 * 8 > table_length {
        return Err(usage(output.name(), "the refcount table is too small"));
    }
    let l1: Vec<u8> =
        l2_tables.flat_map(|host| if host == 0 { 0 } else { host | COPIED }.to_be_bytes()).collect();
    let l1_length = (layout.l1_entries * 8).next_multiple_of(cluster_size);
    output.write_padded(&l1, l1_length as usize, layout.l1_offset)?;
    let table: Vec<u8> = refcount_blocks.iter().flat_map(|at| at.to_be_bytes()).collect();
    output.write_padded(&table, table_length as usize, layout.refcount_table_offset)?;
    let length = output.end();
    output.set_length(length)?;
    output.sync()?;
    output.write_padded(&layout.header(), cluster_size as usize, 0)?;
    output.sync()?;
    output.keep();
    Ok(length)
}
