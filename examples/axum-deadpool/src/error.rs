use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::deadpool::PoolError;
use serde_json::json;

pub enum Error {
    Audit(threadline::Error),
    Forbidden,
    Pool(PoolError),
    Unauthorized,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        use threadline::Error as Audit;

        let (status, message) = match self {
            Self::Audit(Audit::Database(DieselError::NotFound)) => {
                (StatusCode::NOT_FOUND, "there is no such thing".to_owned())
            }
            Self::Audit(error @ Audit::NotFound(_)) => (StatusCode::NOT_FOUND, error.to_string()),
            Self::Audit(error @ Audit::ReasonRequired { .. }) => {
                (StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            Self::Audit(Audit::Database(DieselError::DatabaseError(
                DatabaseErrorKind::CheckViolation | DatabaseErrorKind::UniqueViolation,
                info,
            ))) => {
                let constraint = info.constraint_name().unwrap_or_default();
                let message = format!("this is against {constraint}");
                (StatusCode::UNPROCESSABLE_ENTITY, message)
            }
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "this is for administrators".to_owned(),
            ),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "log in first".to_owned()),
            Self::Audit(error) => internal(&error),
            Self::Pool(error) => internal(&error),
        };
        (status, Json(json!({"error": message}))).into_response()
    }
}

/// What happened is for the log, and not for the client.
fn internal(error: &dyn std::error::Error) -> (StatusCode, String) {
    eprintln!("{error}: {:?}", error.source());
    let message = "something went wrong on our side".to_owned();
    (StatusCode::INTERNAL_SERVER_ERROR, message)
}

/// Diesel's errors come out of queries and transactions; Threadline's are in there, or come by themselves.
impl From<DieselError> for Error {
    fn from(error: DieselError) -> Self {
        Self::Audit(error.into())
    }
}

impl From<threadline::Error> for Error {
    fn from(error: threadline::Error) -> Self {
        Self::Audit(error)
    }
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}
