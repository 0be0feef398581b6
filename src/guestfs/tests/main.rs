//! The readers against file systems that other programs made: every name, byte, owner, mode, time, link and extended
//! attribute must be what the kernel's (or another program's) own mount of the same image shows.

mod compare;
mod fixture;
mod hostile;

mod btrfs;
mod exfat;
mod ext;
mod fat;
mod foreign;
mod iso9660;
mod layers;
mod ntfs;
mod system;
mod xfs;
