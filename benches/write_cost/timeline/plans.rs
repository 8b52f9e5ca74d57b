use std::future::poll_fn;

use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use threadline::{Timeline, TimelineEntry};
use threadline_benches::Result;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::times::WARM_UP;
use threadline_benches::{Data, SETTINGS};

/// Everything that is executed for a page, functions in functions included.
const EXPLAIN_ALL: &str = "
LOAD 'auto_explain';
SET auto_explain.log_min_duration = 0;
SET auto_explain.log_nested_statements = on;
SET auto_explain.log_analyze = on;
SET auto_explain.log_timing = off;
SET client_min_messages = log;
";

/// The plans are those of a session that has settled on them, and arrive as messages beside the result, which libpq would throw away.
pub(crate) fn print(data: &Data, timeline: &Timeline) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (client, mut connection) = tokio_postgres::connect(data.database.url(), NoTls).await?;
        let messages = tokio::spawn(async move {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message? {
                    eprintln!("\n{}", notice.message());
                }
            }
            Ok::<_, tokio_postgres::Error>(())
        });
        let mut conn = AsyncPgConnection::try_from(client).await?;
        conn.batch_execute(SETTINGS).await?;
        for _ in 0..WARM_UP {
            timeline.clone().load::<TimelineEntry>(&mut conn).await?;
        }
        conn.batch_execute(EXPLAIN_ALL).await?;
        timeline.clone().load::<TimelineEntry>(&mut conn).await?;
        drop(conn);
        messages.await??;
        Ok(())
    })
}
