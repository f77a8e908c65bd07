//! Notices when a run goes in circles.

use goclaw_ports::{JsonObject, tools::ToolEffect};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{HashSet, VecDeque};

/// How many calls back repetitions are looked for.
const WINDOW: usize = 30;

/// What a run that goes in circles is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing: it makes progress.
    Fine,
    /// A warning, to be put into the result.
    Warn(String),
    /// It is stopped; the text is its answer.
    Stop(String),
}

/// The calls of a run so far.
#[derive(Default)]
pub(crate) struct LoopDetector {
    calls: VecDeque<([u8; 32], [u8; 32])>,
    results: VecDeque<(String, [u8; 32])>,
    /// The calls since something was last changed, all reading.
    reads: usize,
    distinct_reads: HashSet<[u8; 32]>,
}

impl LoopDetector {
    /// Notes a call and its result.
    pub fn note(&mut self, tool: &str, arguments: &JsonObject, result: &str, effect: ToolEffect) -> Verdict {
        let call: [u8; 32] = Sha256::digest(format!("{tool}\0{}", canonical(&Value::Object(arguments.clone())))).into();
        let result: [u8; 32] = Sha256::digest(result).into();
        push(&mut self.calls, (call, result));
        push(&mut self.results, (tool.to_owned(), result));
        let same_call = self.calls.iter().filter(|seen| **seen == (call, result)).count();
        let same_result = self.results.iter().filter(|(name, seen)| name == tool && *seen == result).count();
        match effect {
            ToolEffect::Changes => {
                self.reads = 0;
                self.distinct_reads.clear();
            }
            ToolEffect::Reads => {
                self.reads += 1;
                self.distinct_reads.insert(call);
            }
            ToolEffect::Either => {}
        }
        let repeats = self.distinct_reads.len() * 10 <= self.reads * 6;
        let (read_warn, read_stop) = if repeats { (8, 12) } else { (24, 36) };
        let why = |what: String| format!("I stopped because I was going in circles: {what}. Please tell me how you would like to go on.");
        if same_call >= 5 {
            Verdict::Stop(why(format!("I called {tool} {same_call} times with the same arguments and got the same result each time")))
        } else if same_result >= 6 {
            Verdict::Stop(why(format!("I called {tool} {same_result} times and got the same result each time")))
        } else if effect == ToolEffect::Reads && self.reads >= read_stop {
            Verdict::Stop(why(format!("I looked things up {} times in a row without doing anything with it", self.reads)))
        } else if same_call >= 3 || same_result >= 4 {
            Verdict::Warn(format!(
                "[Note: this is call {} of {tool} with the same result. Repeating it will not help. Try something else, or answer with what you know.]",
                same_call.max(same_result)
            ))
        } else if effect == ToolEffect::Reads && self.reads >= read_warn && (self.reads == read_warn || repeats) {
            Verdict::Warn(format!("[Note: {} calls in a row only looked things up. Do something with what you found, or answer.]", self.reads))
        } else {
            Verdict::Fine
        }
    }
}

fn push<T>(seen: &mut VecDeque<T>, item: T) {
    if seen.len() == WINDOW {
        seen.pop_front();
    }
    seen.push_back(item);
}

/// The JSON text with sorted keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(object) => {
            let mut keys: Vec<_> = object.keys().collect();
            keys.sort();
            let entries: Vec<String> = keys.into_iter().map(|key| format!("{}:{}", Value::from(key.as_str()), canonical(&object[key]))).collect();
            format!("{{{}}}", entries.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(value: &Value) -> JsonObject {
        value.as_object().cloned().unwrap_or_default()
    }

    fn verdicts(count: usize, argument: impl Fn(usize) -> Value, result: impl Fn(usize) -> String, effect: ToolEffect) -> Vec<char> {
        let mut detector = LoopDetector::default();
        (0..count)
            .map(|n| match detector.note("t", &arguments(&argument(n)), &result(n), effect) {
                Verdict::Fine => '.',
                Verdict::Warn(_) => 'w',
                Verdict::Stop(_) => 's',
            })
            .collect()
    }

    #[test]
    fn the_same_call_with_the_same_result_is_warned_at_three_and_stopped_at_five() {
        let seen = verdicts(5, |_| json!({"a": 1}), |_| "r".into(), ToolEffect::Either);
        assert_eq!(seen, ['.', '.', 'w', 'w', 's']);
    }

    #[test]
    fn the_same_result_with_other_arguments_is_warned_at_four_and_stopped_at_six() {
        let seen = verdicts(6, |n| json!({"a": n}), |_| "r".into(), ToolEffect::Either);
        assert_eq!(seen, ['.', '.', '.', 'w', 'w', 's']);
    }

    #[test]
    fn reading_the_same_few_things_is_stopped_at_twelve() {
        let seen = verdicts(12, |n| json!({"a": n % 3}), |n| n.to_string(), ToolEffect::Reads);
        assert_eq!((seen[7], seen[11]), ('w', 's'));
    }

    #[test]
    fn reading_new_things_is_stopped_at_thirty_six() {
        let seen = verdicts(36, |n| json!({"a": n}), |n| n.to_string(), ToolEffect::Reads);
        assert_eq!((seen[22], seen[23], seen[34], seen[35]), ('.', 'w', '.', 's'));
    }

    #[test]
    fn the_order_of_keys_does_not_matter() {
        assert_eq!(canonical(&json!({"b": [{"d": 1, "c": 2}], "a": 1})), canonical(&json!({"a": 1, "b": [{"c": 2, "d": 1}]})));
    }
}
