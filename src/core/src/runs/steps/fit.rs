//! Making the conversation fit the model's context.

use super::Steps;
use crate::{
    compaction::{self, Gauge},
    counters, prune,
    runs::compact::{Left, Summariser, WITHIN_RUN},
    traces::RunTrace,
};
use goclaw_ports::{
    Error, ErrorKind, message,
    sessions::{ChatMessage, MessageRole},
};
use serde_json::json;

/// A conversation of fewer messages is not summed up within a run.
const FEWEST: usize = 6;

impl Steps<'_> {
    /// The conversation as the run leaves it, if it may fill the model's context.
    pub fn left(&mut self, answer: &str) -> Option<Left> {
        let mut messages = std::mem::take(&mut self.messages);
        messages.push(ChatMessage::new(MessageRole::Assistant, answer));
        Left::of(self.prepared, self.gauge.clone(), messages, self.compacted)
    }

    /// The conversation as the model gets it: with old results shortened. If it fills the context all the same, its older part is
    /// summed up, once in a run; what does not fit even then is left out.
    pub(super) async fn fitted(&mut self, iteration: i32, trace: &mut RunTrace) -> Vec<ChatMessage> {
        let (window, pruning) = (self.prepared.request.agent.context_window, self.prepared.pruning());
        let shortened = |mut messages: Vec<ChatMessage>| {
            prune::shorten(&mut messages, window, &pruning);
            messages
        };
        let mut messages = shortened(self.messages.clone());
        if !self.gauge.surely_fits(&messages) {
            let mut gauge = self.gauge.clone();
            let counted = tokio::task::spawn_blocking(move || {
                let full = gauge.is_full(&messages);
                (messages, gauge, full)
            });
            let full;
            // Counting does not panic; if it did, the conversation would go as it is.
            (messages, self.gauge, full) = counted.await.unwrap_or_else(|_| (shortened(self.messages.clone()), self.gauge.clone(), false));
            if full && !self.compacted && self.sum_up(iteration, trace).await {
                messages = shortened(self.messages.clone());
            }
        }
        let lead = compaction::lead_of(&messages).min(messages.len());
        prune::drop_oldest_turns(&mut messages, lead, window);
        messages
    }

    /// Sums up the older part of the conversation for the rest of the run. What is stored stays as it is.
    async fn sum_up(&mut self, iteration: i32, trace: &mut RunTrace) -> bool {
        let settings = self.prepared.compaction();
        let lead = compaction::system_of(&self.messages);
        let said = &self.messages[lead..];
        let older = compaction::cut(said.iter(), settings.keep_last_messages.max(said.len() * 3 / 10));
        if said.len() < FEWEST || older == 0 {
            return false;
        }
        self.compacted = true;
        self.emitter.activity(json!({"phase": "compacting", "iteration": iteration}));
        let mut summariser = Summariser::of(self.prepared);
        let summary = tokio::time::timeout(WITHIN_RUN, summariser.sum_up(String::new(), &said[..older], trace)).await;
        self.budget.spend(Some(summariser.cost));
        let summary = summary.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, message::upstream_timeout())));
        counters::compaction("run", summary.is_ok());
        match summary {
            Ok(summary) => {
                self.messages.splice(lead..lead + older, compaction::remembered(&summary));
                self.gauge = Gauge::new(self.prepared.request.agent.context_window, &settings);
                true
            }
            Err(error) => {
                tracing::warn!(run = %self.run.id, %error, "the conversation could not be summed up; the run goes on with it");
                false
            }
        }
    }
}
