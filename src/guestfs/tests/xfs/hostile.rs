//! Images that are not what they seem.
