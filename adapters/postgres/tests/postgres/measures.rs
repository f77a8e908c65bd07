//! What is measured.

use crate::support::Database;
use goclaw_ports::TenantId;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::sync::{Arc, Mutex};

type Measures = Arc<Mutex<Vec<(String, f64)>>>;

/// Keeps what histograms are told, under their name and labels.
#[derive(Default)]
struct Recording(Measures);

struct One(String, Measures);

impl HistogramFn for One {
    fn record(&self, value: f64) {
        self.1.lock().unwrap().push((self.0.clone(), value));
    }
}

impl Recorder for Recording {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Histogram::from_arc(Arc::new(One(format!("{} {}", key.name(), labels.join(",")).trim().to_owned(), self.0.clone())))
    }
}

#[tokio::test]
async fn waiting_for_a_connection_and_for_an_answer_is_measured() {
    let (_database, stores) = Database::opened().await;
    let recording = Recording::default();
    let measures = recording.0.clone();
    let _recorded = metrics::set_default_local_recorder(&recording);
    stores.agents.count(TenantId::MASTER).await.unwrap();
    stores.tenants.find(TenantId::MASTER).await.unwrap();
    let measures = measures.lock().unwrap();
    let names: Vec<_> = measures.iter().map(|(name, _)| name.as_str()).collect();
    let (wait, statement) = ("goclaw_db_pool_wait_seconds pool=", "goclaw_db_statement_seconds");
    assert_eq!(names, [&format!("{wait}tenant"), statement, &format!("{wait}engine"), statement]);
    assert!(measures.iter().all(|(_, seconds)| *seconds > 0.0 && *seconds < 10.0));
}
