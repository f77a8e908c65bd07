//! Statements, and when they are prepared.

use chrono::TimeDelta;
use diesel::{
    QueryResult,
    dsl::{AsExprOf, now},
    pg::Pg,
    prelude::*,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    sql_types::{Interval, Timestamptz},
};

diesel::infix_operator!(Plus, " + ", Timestamptz, backend: Pg);

/// A time so long from now, by the clock of the database: that of a gateway may be wrong.
pub(crate) fn from_now(after: TimeDelta) -> Plus<AsExprOf<now, Timestamptz>, AsExprOf<TimeDelta, Interval>> {
    Plus::new(now.into_sql::<Timestamptz>(), after.into_sql::<Interval>())
}

/// A statement whose text never changes, or has a few forms (of an insert, those with other columns left out): it is prepared once
/// per connection, where a `sql_query` or an insert alone would be prepared at every call, which is a round trip more.
pub(crate) struct Fixed<Q>(pub(crate) Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Fixed<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _backend: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

/// An insert, update or delete that does not wait until the server's disk has it: what it wrote is seen at once and outlives this
/// process, but the last moments before a crash of the server itself may be lost.
pub(crate) struct Relaxed<Q>(pub(crate) Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Relaxed<Q> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("with written as (");
        self.0.walk_ast(out.reborrow())?;
        out.push_sql(") select set_config('synchronous_commit', 'off', true)");
        Ok(())
    }
}

impl<Q> QueryId for Fixed<Q> {
    type QueryId = ();
    /// The statement is told from others by its text.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Fixed<Q> {
    type SqlType = Q::SqlType;
}
