//! What must hold on either database, on a server.

#[path = "both/chains.rs"]
mod chains;
#[path = "both/counts.rs"]
mod counts;
#[path = "both/crash.rs"]
mod crash;
#[path = "both/leases.rs"]
mod leases;
#[path = "both/listing.rs"]
mod listing;
#[path = "both/progress.rs"]
mod progress;
#[path = "both/records.rs"]
mod records;
#[path = "both/restore_mounts.rs"]
mod restore_mounts;
#[path = "both/round_trip.rs"]
mod round_trip;
#[path = "both/speed.rs"]
mod speed;
#[path = "both/users.rs"]
mod users;

use crate::samples::Fixture;

async fn fixture() -> Option<Fixture> {
    Fixture::on_server().await
}
