//! The service over HTTP, with a real client and a real PostgreSQL.

use std::net::SocketAddr;

use diesel::prelude::*;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use threadline_test_support::Database;
use tokio::net::TcpListener;
use uuid::Uuid;

/// A running service, and a client that it knows under several tokens.
struct Service {
    address: SocketAddr,
    client: Client,
    database: Database,
}

impl Service {
    async fn start() -> Self {
        let database = Database::empty();
        let db = axum_deadpool::connect(database.url()).await.unwrap();
        let first = axum_deadpool::first_session(&db).await.unwrap();
        assert!(first.is_some() && axum_deadpool::first_session(&db).await.unwrap().is_none());
        diesel::sql_query(
            "INSERT INTO sessions VALUES ('ada', '1', false, NULL), ('root', '9', true, NULL), ('support', '8', true, '1')",
        )
        .execute(&mut database.connect())
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum_deadpool::app(db).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self {
            address,
            client: Client::new(),
            database,
        }
    }

    fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url).bearer_auth(token)
    }
}

/// Status and JSON of the answer.
async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    (response.status(), response.json().await.unwrap())
}

fn invitation() -> Value {
    json!({"name": "Grace", "email": "grace@example.com"})
}

/// A POST answers with the audit transaction, and the GET of that shows who did what, why, and every field that changed.
#[tokio::test(flavor = "multi_thread")]
async fn incident() {
    let service = Service::start().await;
    let invite = service
        .request(Method::POST, "/members", "ada")
        .json(&invitation());
    let (status, invited) = answer(invite.header("x-correlation-id", "onboarding-7")).await;
    assert_eq!(status, StatusCode::CREATED, "{invited}");
    let id = invited["member"]["id"].as_i64().unwrap();

    let role = json!({"role": "owner", "reason": "founder"});
    let change = service
        .request(Method::PUT, &format!("/members/{id}/role"), "support")
        .json(&role);
    let (status, changed) = answer(change.header("x-request-id", "req-2")).await;
    assert_eq!(status, StatusCode::OK, "{changed}");
    assert_ne!(changed["audit_transaction"], invited["audit_transaction"]);

    let show = |transaction: &Value| {
        let path = format!("/audit/{}", transaction.as_str().unwrap());
        answer(service.request(Method::GET, &path, "root"))
    };
    let (status, incident) = show(&invited["audit_transaction"]).await;
    assert_eq!(status, StatusCode::OK, "{incident}");
    let transaction = &incident["transaction"];
    assert_eq!(transaction["id"], invited["audit_transaction"]);
    assert_eq!(transaction["actor_ref"], json!({"type": "user", "id": "1"}));
    assert_eq!(transaction["on_behalf_of"], Value::Null);
    assert_eq!(transaction["source"], "members-api");
    assert_eq!(transaction["correlation_id"], "onboarding-7");
    assert_eq!(transaction["remote_ip"], "127.0.0.1");
    let request_id = transaction["request_id"].as_str().unwrap();
    assert!(
        request_id.parse::<Uuid>().is_ok(),
        "made by the layer outside: {request_id}"
    );
    assert_eq!(transaction["actions"][0]["name"], "member.invited");
    assert_eq!(
        incident["changes"],
        json!([{
            "table": "members", "key": id.to_string(), "op": "insert",
            "diff": [
                {"column": "email", "after": "[REDACTED]", "masked": true},
                {"column": "id", "after": id},
                {"column": "name", "after": "Grace"},
                {"column": "role", "after": "guest"},
            ],
        }])
    );

    let (_, incident) = show(&changed["audit_transaction"]).await;
    let transaction = &incident["transaction"];
    assert_eq!(
        transaction["actor_ref"],
        json!({"type": "admin", "id": "8"})
    );
    assert_eq!(
        transaction["on_behalf_of"],
        json!({"type": "user", "id": "1"})
    );
    assert_eq!(transaction["request_id"], "req-2");
    let action = &transaction["actions"][0];
    assert_eq!(
        (&action["name"], &action["reason"]),
        (&json!("member.role_changed"), &json!("founder"))
    );
    assert_eq!(
        incident["changes"],
        json!([{
            "table": "members", "key": id.to_string(), "op": "update",
            "diff": [{"column": "role", "before": "guest", "after": "owner"}],
        }])
    );
}

/// A member is shown as it was; and a change without its reason is refused, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn past_and_reasons() {
    let service = Service::start().await;
    let (_, invited) = answer(
        service
            .request(Method::POST, "/members", "ada")
            .json(&invitation()),
    )
    .await;
    let id = invited["member"]["id"].as_i64().unwrap();
    let path = format!("/audit/{}", invited["audit_transaction"].as_str().unwrap());
    let (_, incident) = answer(service.request(Method::GET, &path, "root")).await;
    let before = incident["transaction"]["occurred_at"]
        .as_str()
        .unwrap()
        .to_owned();

    let role_path = format!("/members/{id}/role");
    let change = |role: Value| service.request(Method::PUT, &role_path, "ada").json(&role);
    let (status, refused) = answer(change(json!({"role": "owner"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    assert_eq!(
        refused["error"],
        "the action member.role_changed needs a reason"
    );
    let (status, refused) = answer(change(json!({"role": "king", "reason": "why not"}))).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{refused}");
    let member_path = format!("/members/{id}");
    let show = |moment: &str| {
        let query = [("as_of", moment)];
        let request = service.request(Method::GET, &member_path, "ada");
        answer(if moment.is_empty() {
            request
        } else {
            request.query(&query)
        })
    };
    let (_, member) = show("").await;
    assert_eq!(member["role"], "guest");

    let between = chrono::Utc::now().to_rfc3339();
    let (status, _) = answer(change(json!({"role": "owner", "reason": "founder"}))).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(show("").await.1["role"], "owner");
    let (status, then) = show(&between).await;
    assert_eq!((status, &then["role"]), (StatusCode::OK, &json!("guest")));
    // The transaction took effect at its change, which came after it began.
    assert_eq!(show(&before).await.0, StatusCode::NOT_FOUND);
}

/// Only who is logged in acts, whatever a client says of itself, and only administrators see the audit trail; their looks
/// are recorded.
#[tokio::test(flavor = "multi_thread")]
async fn access() {
    let service = Service::start().await;
    let (status, _) = answer(
        service
            .request(Method::POST, "/members", "forged")
            .json(&invitation()),
    )
    .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let claims = service
        .request(Method::POST, "/members", "ada")
        .json(&invitation());
    let claims = claims
        .header("x-actor", r#"{"type":"admin","id":"9"}"#)
        .header("x-forwarded-for", "192.0.2.1")
        .header("x-request-id", "x".repeat(300));
    let (_, invited) = answer(claims).await;
    let path = format!("/audit/{}", invited["audit_transaction"].as_str().unwrap());
    let (_, incident) = answer(service.request(Method::GET, &path, "root")).await;
    assert_eq!(
        incident["transaction"]["actor_ref"],
        json!({"type": "user", "id": "1"})
    );
    assert_eq!(incident["transaction"]["remote_ip"], "127.0.0.1");
    assert_eq!(incident["transaction"]["request_id"], Value::Null);

    let (status, _) = answer(service.request(Method::GET, &path, "ada")).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
    let unknown = format!("/audit/{}", Uuid::nil());
    let (status, _) = answer(service.request(Method::GET, &unknown, "root")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let viewed: Vec<(Value, Value)> = {
        use threadline::schema::threadline::audit_actions as actions;
        let mut conn = service.database.connect();
        let viewed = actions::table.filter(actions::name.eq("audit.viewed"));
        viewed
            .select((actions::actor_ref, actions::meta.assume_not_null()))
            .load(&mut conn)
            .unwrap()
    };
    let by_root = json!({"type": "admin", "id": "9"});
    assert_eq!(
        viewed,
        [(
            by_root,
            json!({"transaction": invited["audit_transaction"]})
        )]
    );
}
