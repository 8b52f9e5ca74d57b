use threadline::web::AuditLayer;

fn main() {
    let _: AuditLayer<axum::response::Response> = AuditLayer::new(|_| "user 7");
}
