//! `DATABASE_URL=postgres://… cargo run -p axum-deadpool`

use std::env;
use std::error::Error;
use std::net::SocketAddr;

use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let database_url = env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let db = axum_deadpool::connect(&database_url).await?;
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}", listener.local_addr()?);
    if let Some(token) = axum_deadpool::first_session(&db).await? {
        println!(
            r#"
Nobody had a session, so here is one, of an administrator. Try it:

  curl http://127.0.0.1:3000/members -H 'authorization: Bearer {token}' \
    -H 'content-type: application/json' -d '{{"name": "Grace", "email": "grace@example.com"}}'
  curl http://127.0.0.1:3000/audit/THE-AUDIT-TRANSACTION -H 'authorization: Bearer {token}'
"#
        );
    }
    // With the addresses of the clients, which go into the audit log.
    let app = axum_deadpool::app(db).into_make_service_with_connect_info::<SocketAddr>();
    Ok(axum::serve(listener, app).await?)
}
