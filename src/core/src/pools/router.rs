//! Asks the accounts of a pool until one answers.

use super::{
    Strategy,
    standing::{Standing, Standings, order},
};
use crate::oauth::Quotas;
use async_trait::async_trait;
use futures_util::{StreamExt, future, stream};
use goclaw_ports::{
    TenantId,
    llm::{ChatEvent, ChatRequest, ChatStream, LlmError, LlmErrorKind, ModelInfo, Provider, Routing},
};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Accounts that stand in for one another.
pub(super) struct Router {
    pub(super) pool: Arc<Members>,
}

/// What all questions of a pool share.
pub(super) struct Members {
    /// Whose accounts they are.
    pub tenant: TenantId,
    /// The provider that agents name.
    pub owner: String,
    pub strategy: Strategy,
    /// In the pool's order; never empty.
    pub accounts: Vec<Arc<dyn Provider>>,
    pub standings: Arc<Standings>,
    pub quotas: Arc<Quotas>,
    /// Counts the questions of the pool.
    pub turns: Arc<AtomicUsize>,
}

impl Members {
    fn names(&self) -> Vec<String> {
        self.accounts.iter().map(|account| account.name().to_owned()).collect()
    }

    async fn standing(&self, account: &str) -> Standing {
        let (quotas, tenant, name) = (self.quotas.clone(), self.tenant, account.to_owned());
        let look = async move {
            match quotas.tokens.row(tenant, &name).await {
                Ok(Some(row)) if !row.enabled => Standing::Blocked("disabled"),
                Ok(Some(row)) => Standing::of(&quotas.read(&row).await),
                Ok(None) => Standing::Blocked("disabled"),
                Err(_) => Standing::Unknown,
            }
        };
        self.standings.of(self.tenant, account, look).await
    }

    /// Those that can be asked, in their order.
    async fn in_turn(&self) -> Result<VecDeque<Arc<dyn Provider>>, LlmError> {
        let standings = future::join_all(self.accounts.iter().map(|account| self.standing(account.name()))).await;
        let turn = if self.strategy == Strategy::RoundRobin { self.turns.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let order = order(self.strategy, &standings, turn);
        if order.is_empty() {
            return Err(none_left(&self.names(), &standings));
        }
        Ok(order.into_iter().map(|at| self.accounts[at].clone()).collect())
    }
}

fn none_left(names: &[String], standings: &[Standing]) -> LlmError {
    let reasons: Vec<&str> = standings.iter().map(|standing| if let Standing::Blocked(reason) = standing { reason } else { "unknown" }).collect();
    let each: Vec<_> = names.iter().zip(&reasons).map(|(name, reason)| format!("{name}:{reason}")).collect();
    let kind = match reasons.first().copied() {
        Some("exhausted") => LlmErrorKind::RateLimit,
        Some("billing") => LlmErrorKind::Billing,
        _ => LlmErrorKind::Auth,
    };
    let text = format!("no route-eligible chatgpt_oauth providers available: {}", each.join(", "));
    LlmError { kind, status: None, text, retry_after: None }
}

#[async_trait]
impl Provider for Router {
    fn name(&self) -> &str {
        &self.pool.owner
    }

    fn provider_type(&self) -> &str {
        self.pool.accounts[0].provider_type()
    }

    fn default_model(&self) -> &str {
        self.pool.accounts[0].default_model()
    }

    fn chat(&self, request: ChatRequest) -> ChatStream {
        let pool = self.pool.clone();
        let routing = Routing {
            pool_owner_provider: pool.owner.clone(),
            strategy: pool.strategy.as_str().to_owned(),
            pool_providers: pool.names(),
            ..Routing::default()
        };
        let question = Question { pool, request, routing, waiting: None, asked: None, done: None, said: false, failed: None };
        stream::unfold(Some(question), |question| async move {
            let mut question = question?;
            match question.next().await {
                Ok(ChatEvent::Done(response)) => Some((Ok(ChatEvent::Done(response)), None)),
                Ok(event) => Some((Ok(event), Some(question))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError> {
        self.pool.accounts[0].models().await
    }
}

/// A question on its way.
struct Question {
    pool: Arc<Members>,
    request: ChatRequest,
    routing: Routing,
    /// Those that were not asked yet; `None` before anybody was.
    waiting: Option<VecDeque<Arc<dyn Provider>>>,
    asked: Option<(String, ChatStream)>,
    /// The end, once it was told who answered.
    done: Option<ChatEvent>,
    /// Whether a part of the answer was passed on, so that nobody else may begin another.
    said: bool,
    failed: Option<LlmError>,
}

impl Question {
    async fn next(&mut self) -> Result<ChatEvent, LlmError> {
        loop {
            if let Some(done) = self.done.take() {
                return Ok(done);
            }
            let Some((name, answer)) = &mut self.asked else { return self.ask_next().await };
            match answer.next().await {
                Some(Ok(done @ ChatEvent::Done(_))) => {
                    self.routing.serving_provider.clone_from(name);
                    self.done = Some(done);
                    return Ok(self.told());
                }
                Some(Ok(event)) => {
                    self.said |= matches!(event, ChatEvent::Text(_) | ChatEvent::Thinking(_));
                    return Ok(event);
                }
                Some(Err(error)) => {
                    if let Some(standing) = Standing::after(&error) {
                        self.pool.standings.note(self.pool.tenant, name, standing);
                    }
                    let others = self.waiting.as_ref().is_some_and(|waiting| !waiting.is_empty());
                    if self.said || !others || !may_pass_elsewhere(&error) {
                        return Err(error);
                    }
                    tracing::info!(account = name, pool = self.pool.owner, %error, "an account failed; another one is asked");
                    self.asked = None;
                    self.failed = Some(error);
                }
                None => return Err(LlmError { kind: LlmErrorKind::Other, status: None, text: format!("{name}: the answer had no end"), retry_after: None }),
            }
        }
    }

    /// Asks the next account, and tells so before it answers: if it does not, that is known at least.
    async fn ask_next(&mut self) -> Result<ChatEvent, LlmError> {
        let waiting = match &mut self.waiting {
            Some(waiting) => waiting,
            none => none.insert(self.pool.in_turn().await?),
        };
        let Some(account) = waiting.pop_front() else {
            let nobody = || LlmError { kind: LlmErrorKind::Other, status: None, text: "no account is left to be asked".into(), retry_after: None };
            return Err(self.failed.take().unwrap_or_else(nobody));
        };
        let name = account.name().to_owned();
        if self.routing.selected_provider.is_empty() {
            self.routing.selected_provider.clone_from(&name);
        } else {
            self.routing.failover_providers.push(name.clone());
        }
        self.routing.attempted_providers.push(name.clone());
        self.routing.attempt_count += 1;
        self.asked = Some((name, account.chat(self.request.clone())));
        Ok(self.told())
    }

    fn told(&self) -> ChatEvent {
        ChatEvent::Routed(Box::new(self.routing.clone()))
    }
}

/// Whether another account may answer what this one did not: the fault is the account's or the way's, not the question's.
fn may_pass_elsewhere(error: &LlmError) -> bool {
    match error.status {
        Some(401..=403 | 408 | 409 | 429 | 500..) => true,
        Some(_) => false,
        None => !matches!(error.kind, LlmErrorKind::ContextOverflow | LlmErrorKind::History | LlmErrorKind::Model),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(Some(401), LlmErrorKind::Auth, true)]
    #[case(Some(429), LlmErrorKind::RateLimit, true)]
    #[case(Some(503), LlmErrorKind::Overloaded, true)]
    #[case(None, LlmErrorKind::Timeout, true)]
    #[case(None, LlmErrorKind::Other, true)]
    #[case(Some(400), LlmErrorKind::Other, false)]
    #[case(Some(404), LlmErrorKind::Model, false)]
    #[case(None, LlmErrorKind::ContextOverflow, false)]
    fn the_fault_of_a_question_goes_nowhere_else(#[case] status: Option<u16>, #[case] kind: LlmErrorKind, #[case] passes: bool) {
        assert_eq!(may_pass_elsewhere(&LlmError { kind, status, text: String::new(), retry_after: None }), passes);
    }

    #[test]
    fn that_nobody_can_be_asked_says_why() {
        let error = none_left(&["a".into(), "b".into()], &[Standing::Blocked("exhausted"), Standing::Blocked("reauth")]);
        assert_eq!(error.text, "no route-eligible chatgpt_oauth providers available: a:exhausted, b:reauth");
        assert_eq!(error.kind, LlmErrorKind::RateLimit);
    }
}
