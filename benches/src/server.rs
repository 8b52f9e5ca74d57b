use std::collections::BTreeMap;

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::Result;

/// The version of a server and the settings that matter here.
pub type Server = BTreeMap<&'static str, String>;

/// Asks the server of a connection.
///
/// # Errors
/// If the connection fails.
pub fn server(conn: &mut PgConnection) -> Result<Server> {
    let names = [
        "server_version",
        "shared_buffers",
        "work_mem",
        "max_parallel_workers_per_gather",
        "jit",
    ];
    let mut server = Server::new();
    for name in names {
        let setting = sql::<Text>(&format!("current_setting('{name}')"));
        server.insert(name, diesel::select(setting).get_result(conn)?);
    }
    Ok(server)
}
