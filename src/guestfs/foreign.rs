//! What is not read here, recognised by name.
