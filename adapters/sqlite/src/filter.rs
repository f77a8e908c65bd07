//! Conditions that are there or not.

use rusqlite::types::Value;

/// The `where` of a list, with its parameters in the order of its question marks.
#[derive(Debug)]
pub(crate) struct Filter {
    sql: String,
    parameters: Vec<Value>,
}

impl Filter {
    /// Rows of this tenant.
    pub fn tenant(tenant: goclaw_ports::TenantId) -> Self {
        Self { sql: "tenant_id = ?".to_owned(), parameters: vec![Value::from(tenant.to_string())] }
    }

    /// And this condition, one question mark for each parameter.
    pub fn and(&mut self, condition: &str, parameters: impl IntoIterator<Item = Value>) {
        self.sql.push_str(" and ");
        self.sql.push_str(condition);
        self.parameters.extend(parameters);
    }

    /// And this column has this value, if one is given.
    pub fn and_equal(&mut self, column: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.and(&format!("{column} = ?"), [Value::from(value.to_string())]);
        }
    }

    /// The conditions.
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Their parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &Value> {
        self.parameters.iter()
    }

    /// Their parameters, then those of `limit ? offset ?`. SQLite takes a negative limit for none at all; here it is zero.
    pub fn paged(&self, limit: i64, offset: i64) -> impl Iterator<Item = Value> {
        self.parameters.iter().cloned().chain([Value::from(limit.max(0)), Value::from(offset.max(0))])
    }
}
