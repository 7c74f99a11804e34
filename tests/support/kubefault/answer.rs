//! What does the layer say in the API server's place?

use bytes::Bytes;
use http::{Response, header};
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tower::BoxError;

use super::ResponseBody;

/// The error of a connection that broke.
pub fn broken() -> BoxError {
    std::io::Error::new(std::io::ErrorKind::ConnectionReset, "connection reset by the fault layer").into()
}

/// A refusal in the API server's own form.
pub fn refused(status: u16, retry_after: Option<u32>) -> Response<ResponseBody> {
    let mut response = json(status, failure(status).to_string().into());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The `Status` object of a refusal.
pub fn failure(status: u16) -> serde_json::Value {
    let reason = match status {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        500 => "InternalError",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "Unknown",
    };
    json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": status, "reason": reason, "metadata": {},
        "message": format!("{reason} by the fault layer")})
}

/// An answer in JSON.
pub fn json(status: u16, body: Bytes) -> Response<ResponseBody> {
    Response::builder().status(status).header(header::CONTENT_TYPE, "application/json").body(full(body)).unwrap()
}

/// A body that is complete.
pub fn full(body: Bytes) -> ResponseBody {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}
