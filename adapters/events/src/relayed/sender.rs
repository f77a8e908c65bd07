//! Sends what waits, in order, one batch after the other.

use super::{Shared, wire};
use goclaw_ports::{ErrorKind, events::Batch};
use std::sync::Arc;
use tokio::time::{Instant, sleep, sleep_until};

/// How often a batch is tried again that the relay refuses for another reason than being out of reach.
const REFUSALS: u32 = 8;

/// Sends, for as long as the bus lives.
pub async fn run(shared: Arc<Shared>) {
    let mut newest = 0;
    let mut last_sent = Instant::now();
    loop {
        tokio::select! {
            () = shared.outbox.waiting() => {}
            () = sleep_until(last_sent + shared.options.alive_every) => shared.outbox.ask_for_alive(),
        }
        if !shared.outbox.is_ripe() {
            sleep(shared.options.gather).await;
        }
        let Some(mut parcel) = shared.outbox.take() else { continue };
        // The number that is left out tells the others.
        newest += if parcel.after_gap { 2 } else { 1 };
        let events = parcel.lines.len();
        if parcel.lines.is_empty() {
            parcel.lines.push(wire::alive(shared.options.clock.now()));
        }
        let batch = Batch { origin: shared.origin, seq: newest, events: wire::batch(&parcel.lines) };
        drop(parcel);
        if send(&shared, &batch).await {
            metrics::counter!("goclaw_bus_batches_total", "direction" => "out").increment(1);
            metrics::counter!("goclaw_bus_events_total", "direction" => "out").increment(events as u64);
        } else {
            // Its number is used up, so the others will notice.
            metrics::counter!("goclaw_bus_dropped_total").increment(events as u64);
            shared.outbox.ask_for_alive();
        }
        last_sent = Instant::now();
        shared.outbox.done();
    }
}

/// Sends a batch, however long it takes. `false` if the relay will not have it.
async fn send(shared: &Shared, batch: &Batch) -> bool {
    let (mut wait, longest) = shared.options.backoff;
    let mut failures = 0;
    let mut refusals = 0;
    loop {
        let error = match shared.call(shared.relay.send(batch)).await {
            Ok(()) => break,
            // An attempt whose answer got lost was stored all the same.
            Err(error) if error.kind == ErrorKind::AlreadyExists => break,
            Err(error) => error,
        };
        if failures == 0 {
            tracing::warn!(%error, "events do not reach the other replicas; trying again");
        }
        failures += 1;
        if !matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) {
            refusals += 1;
            if refusals > REFUSALS {
                tracing::error!(%error, "a batch of events cannot be sent to the other replicas and is given up");
                return false;
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest);
    }
    if failures > 0 {
        tracing::info!(failures, "events reach the other replicas again");
    }
    true
}
