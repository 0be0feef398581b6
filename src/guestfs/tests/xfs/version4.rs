//! Version 4.
