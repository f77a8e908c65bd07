//! What an agent may cost in a calendar month.

use crate::traces::Tracer;
use chrono::{DateTime, Datelike, NaiveTime, Utc};
use goclaw_ports::{Error, ErrorKind, Result, TenantId, agents::Agent, message};

/// What an agent may still spend, as it was when the run began, and what the run has spent since.
#[derive(Default)]
pub(crate) struct Budget {
    /// In US cents; 0 is no limit.
    cents: i64,
    /// In US dollars, this month.
    spent: f64,
}

impl Budget {
    /// The budget of an agent now. If the costs cannot be read, the run is let through.
    pub async fn of(tracer: &Tracer, tenant: TenantId, agent: &Agent, now: DateTime<Utc>) -> Self {
        let Some(cents) = agent.budget_monthly_cents.filter(|cents| *cents > 0) else { return Self::default() };
        let spent = tracer.cost_since(tenant, agent.id, month_of(now)).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the costs of the month could not be read; the run goes on");
            0.0
        });
        Self { cents, spent }
    }

    /// Adds the cost of a call.
    pub fn spend(&mut self, dollars: Option<f64>) {
        self.spent += dollars.unwrap_or_default();
    }

    /// Whether the model may be asked.
    ///
    /// # Errors
    /// `Precondition` if the budget is used up.
    pub fn check(&self) -> Result<()> {
        #[expect(clippy::cast_precision_loss, reason = "amounts of money")]
        let budget = self.cents as f64;
        // A thousandth of a cent more, so that ten times ten cents are a dollar.
        if self.cents == 0 || (self.spent * 100.0 + 0.001).floor() < budget {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Precondition, message::budget_exceeded(format!("{:.2}", self.spent), format!("{:.2}", budget / 100.0))))
    }
}

/// The beginning of the month.
fn month_of(now: DateTime<Utc>) -> DateTime<Utc> {
    let day = now.date_naive();
    day.with_day(1).unwrap_or(day).and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_used_up_when_its_last_cent_is_spent() {
        let mut budget = Budget { cents: 100, spent: 0.0 };
        for _ in 0..10 {
            budget.check().unwrap();
            budget.spend(Some(0.1));
            budget.spend(None);
        }
        let error = budget.check().unwrap_err();
        assert_eq!((error.kind, error.message.to_string().as_str()), (ErrorKind::Precondition, "monthly budget exceeded ($1.00 / $1.00)"));
        Budget { cents: 0, spent: 5.0 }.check().unwrap();
    }

    #[test]
    fn a_month_begins_at_midnight_of_its_first_day() {
        let now = "2026-02-28T23:59:59Z".parse().unwrap();
        assert_eq!(month_of(now), "2026-02-01T00:00:00Z".parse::<DateTime<Utc>>().unwrap());
    }
}
