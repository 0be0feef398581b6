//! The system's view: which volume is the root, and where the others stand in it.
