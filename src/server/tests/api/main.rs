//! The REST API in-process, over the real hub on a folder of its own.

mod admission;
mod auth;
mod backups;
mod errors;
mod events;
mod lists;
mod older;
mod openapi;
mod places;
mod restore;
mod roles;
mod search;
mod support;
mod telemetry;
