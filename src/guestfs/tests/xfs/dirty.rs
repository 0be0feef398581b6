//! Images whose log was not finished, against the kernel's mount of a copy, which replays it.
