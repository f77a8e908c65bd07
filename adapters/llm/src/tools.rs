//! What is on offer in a question. It is the largest part of most, and the same in each.

use goclaw_ports::llm::ToolDefinition;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the tools stand in a body.
pub(crate) const TOOLS: &str = "tools";

/// Tools, and what they look like in a question.
type RenderedTools = (Arc<[ToolDefinition]>, Arc<RawValue>);

/// The tools of the last question as they were sent.
#[derive(Default)]
pub(crate) struct Rendered(Mutex<Option<RenderedTools>>);

impl Rendered {
    /// The tools as `render` writes them down, which is asked only if they are others than the last time.
    pub(crate) fn of(&self, tools: &Arc<[ToolDefinition]>, render: impl FnOnce(&[ToolDefinition]) -> Vec<Value>) -> Arc<RawValue> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, rendered)) = last.filter(|(known, _)| Arc::ptr_eq(known, tools)) {
            return rendered;
        }
        // A list of trees with text for keys is always JSON.
        let rendered: Arc<RawValue> = to_raw_value(&render(tools)).unwrap_or_default().into();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((tools.clone(), rendered.clone()));
        rendered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tools_are_written_down_once_for_all_questions_that_offer_them() {
        let tool = |name: &str| ToolDefinition { name: name.into(), description: String::new(), parameters: json!({}) };
        let names = |tools: &[ToolDefinition]| tools.iter().map(|tool| json!(tool.name)).collect();
        let (two, one): (Arc<[_]>, Arc<[_]>) = ([tool("a"), tool("b")].into(), [tool("c")].into());
        let rendered = Rendered::default();
        assert_eq!(rendered.of(&two, names).get(), r#"["a","b"]"#);
        assert_eq!(rendered.of(&two, |_| unreachable!()).get(), r#"["a","b"]"#);
        assert_eq!(rendered.of(&one, names).get(), r#"["c"]"#);
        assert_eq!(rendered.of(&two, names).get(), r#"["a","b"]"#);
    }
}
