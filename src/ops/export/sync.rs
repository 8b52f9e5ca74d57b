use std::io::Write;
use std::path::PathBuf;

use diesel::RunQueryDsl;
use diesel::pg::{PgConnection, PgRowByRowLoadingMode};

use super::Export;
use super::files::{ExportFiles, Manifest};
use super::job::{ExportJob, Snapshot};
use super::outcome::ExportReport;
use super::page::ExportRow;
use super::write::{Exports, ExportsFiles};
use crate::context::depth;
use crate::error::Error;

use crate::telemetry::Span;

impl<W: Write> Exports<W> for PgConnection {
    type Outcome<'a>
        = Result<ExportReport, Error>
    where
        W: 'a;

    fn export<'a>(&'a mut self, mut job: ExportJob<'a>, mut out: W) -> Self::Outcome<'a>
    where
        W: 'a,
    {
        in_snapshot(self, |conn, snapshot| {
            write(conn, &mut job, snapshot, &mut out)
        })
    }
}

impl ExportsFiles for PgConnection {
    type Outcome<'a> = Result<Manifest, Error>;

    fn export_files<'a>(&'a mut self, export: Export<'a>, directory: PathBuf) -> Self::Outcome<'a> {
        let mut files = ExportFiles::open(export.manifest(), &directory)?;
        let mut job = ExportJob::new(export);
        in_snapshot(self, |conn, snapshot| {
            while files.next(&mut job) {
                let mut file = files.create()?;
                let exported = write(conn, &mut job, snapshot, &mut file)?;
                file.sync_all().map_err(Error::Output)?;
                files = files.add(exported)?;
            }
            Ok(files.into_manifest())
        })
    }
}

fn in_snapshot<T>(
    conn: &mut PgConnection,
    work: impl FnOnce(&mut PgConnection, &Snapshot) -> Result<T, Error>,
) -> Result<T, Error> {
    let run = |conn: &mut PgConnection| {
        let snapshot: Snapshot = Snapshot::query().get_result(conn)?;
        work(conn, &snapshot.checked()?)
    };
    Span::operation("export", None).in_scope(|| {
        if depth(conn)? > 0 {
            return run(conn);
        }
        let transaction = conn.build_transaction();
        transaction.repeatable_read().read_only().run(run)
    })
}

fn write(
    conn: &mut PgConnection,
    job: &mut ExportJob<'_>,
    snapshot: &Snapshot,
    out: &mut impl Write,
) -> Result<ExportReport, Error> {
    job.begin(snapshot)?;
    while let Some(page) = job.next_page() {
        for row in page.load_iter::<ExportRow, PgRowByRowLoadingMode>(conn)? {
            if let Some(piece) = job.push(&row?)? {
                out.write_all(&piece).map_err(Error::Output)?;
            }
        }
        out.write_all(&job.piece()?).map_err(Error::Output)?;
        job.report();
    }
    out.write_all(&job.end()?).map_err(Error::Output)?;
    out.flush().map_err(Error::Output)?;
    Ok(job.exported())
}
