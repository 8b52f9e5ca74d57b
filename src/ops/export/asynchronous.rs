use std::path::PathBuf;
use std::pin::Pin;

use diesel_async::{AnsiTransactionManager, AsyncPgConnection, RunQueryDsl, TransactionManager};
use futures_util::TryStreamExt;
use tokio::fs::File;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::task::spawn_blocking;

use super::Export;
use super::files::{ExportFiles, Manifest};
use super::job::{ExportJob, Snapshot};
use super::outcome::ExportReport;
use super::page::ExportRow;
use super::write::{Exports, ExportsFiles};
use crate::context::async_depth;
use crate::error::Error;

use crate::telemetry::Span;

type Outcome<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

impl<W: AsyncWrite + Unpin + Send> Exports<W> for AsyncPgConnection {
    type Outcome<'a>
        = Outcome<'a, ExportReport>
    where
        W: 'a;

    fn export<'a>(&'a mut self, mut job: ExportJob<'a>, mut out: W) -> Self::Outcome<'a>
    where
        W: 'a,
    {
        let work = async move {
            let (snapshot, is_ours) = begin(self).await?;
            let exported = write(self, &mut job, &snapshot, &mut out).await;
            end(self, is_ours, exported).await
        };
        Box::pin(Span::operation("export", None).instrument(work))
    }
}

impl ExportsFiles for AsyncPgConnection {
    type Outcome<'a> = Outcome<'a, Manifest>;

    fn export_files<'a>(&'a mut self, export: Export<'a>, directory: PathBuf) -> Self::Outcome<'a> {
        let work = async move {
            let to = export.manifest();
            let files = blocking(move || ExportFiles::open(to, &directory)).await?;
            let mut job = ExportJob::new(export);
            let (snapshot, is_ours) = begin(self).await?;
            let manifest = write_files(self, &mut job, &snapshot, files).await;
            end(self, is_ours, manifest).await
        };
        Box::pin(Span::operation("export", None).instrument(work))
    }
}

/// Takes the snapshot. Also returns whether it opened a transaction for it.
async fn begin(conn: &mut AsyncPgConnection) -> Result<(Snapshot, bool), Error> {
    let is_ours = async_depth(conn)? == 0;
    if is_ours {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        AnsiTransactionManager::begin_transaction_sql(conn, begin).await?;
    }
    let snapshot = Snapshot::query().get_result(conn).await;
    match snapshot.map_err(Error::from).and_then(Snapshot::checked) {
        Ok(snapshot) => Ok((snapshot, is_ours)),
        Err(error) => end(conn, is_ours, Err(error)).await,
    }
}

async fn end<T>(
    conn: &mut AsyncPgConnection,
    is_ours: bool,
    result: Result<T, Error>,
) -> Result<T, Error> {
    if is_ours {
        // The transaction wrote nothing. The error is more useful than the broken connection it may
        // have caused.
        let ended = AnsiTransactionManager::rollback_transaction(conn).await;
        return result.and_then(|value| Ok(ended.map(|()| value)?));
    }
    result
}

async fn write(
    conn: &mut AsyncPgConnection,
    job: &mut ExportJob<'_>,
    snapshot: &Snapshot,
    out: &mut (impl AsyncWrite + Unpin),
) -> Result<ExportReport, Error> {
    job.begin(snapshot)?;
    while let Some(page) = job.next_page() {
        let rows = page.load_stream::<ExportRow>(conn).await?;
        let mut rows = std::pin::pin!(rows);
        while let Some(row) = rows.try_next().await? {
            if let Some(piece) = job.push(&row)? {
                out.write_all(&piece).await.map_err(Error::Output)?;
            }
        }
        out.write_all(&job.piece()?).await.map_err(Error::Output)?;
        job.report();
    }
    out.write_all(&job.end()?).await.map_err(Error::Output)?;
    out.flush().await.map_err(Error::Output)?;
    Ok(job.exported())
}

async fn write_files(
    conn: &mut AsyncPgConnection,
    job: &mut ExportJob<'_>,
    snapshot: &Snapshot,
    mut files: ExportFiles,
) -> Result<Manifest, Error> {
    while files.next(job) {
        let created = blocking(move || files.create().map(|file| (files, file))).await?;
        files = created.0;
        let mut file = File::from_std(created.1);
        let exported = write(conn, job, snapshot, &mut file).await?;
        file.sync_all().await.map_err(Error::Output)?;
        files = blocking(move || files.add(exported)).await?;
    }
    Ok(files.into_manifest())
}

/// Runs blocking disk work on a thread where no other task has to wait for it.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::Output(error.into())))
}
