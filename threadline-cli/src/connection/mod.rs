use diesel::connection::SimpleConnection;
use diesel::{Connection as _, PgConnection};

use crate::Result;
use crate::arguments::Connection;

impl Connection {
    pub(crate) fn establish(&self) -> Result<PgConnection> {
        let url = self.database_url.as_deref();
        let url = url.ok_or("no database is named: give --database-url, or set DATABASE_URL")?;
        let mut conn = PgConnection::establish(url)?;
        // Who looks into pg_stat_activity, or into what we change, sees who it was.
        conn.batch_execute("SET application_name = 'threadline'")?;
        Ok(conn)
    }
}
