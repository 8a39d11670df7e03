//! Deletes in batches, and one by one.

use super::*;

fn deleted_body(request: &Request) -> String {
    String::from_utf8_lossy(&request.body).into_owned()
}

#[tokio::test]
async fn batch_deletes_carry_md5_and_report_refusals() {
    let stub = Stub::start(|_, _| {
        let errors = "<Error><Key>pre/fix/b</Key><Code>AccessDenied</Code><Message>locked</Message></Error>\
                      <Error><Key>pre/fix/c</Key><Code>NoSuchKey</Code></Error>";
        Reply::status(200, &format!("<DeleteResult>{errors}</DeleteResult>"))
    })
    .await;
    let done = stub.store().await.delete(&[key("a"), key("b"), key("c")]).await.expect("delete");
    assert_eq!(done.deleted, 2);
    let [(refused, error)] = &done.refused[..] else { panic!("{:?}", done.refused) };
    assert_eq!(refused, &key("b"));
    assert!(matches!(error, StoreError::Denied { .. }) && error.to_string().contains("locked"), "{error}");

    let requests = stub.requests();
    assert_eq!((requests[0].method.as_str(), requests.len()), ("POST", 1));
    assert!(deleted_body(&requests[0]).contains("<Key>pre/fix/a</Key>"));
    assert_eq!(requests[0].header("content-md5"), Some(base64_md5(&requests[0].body).as_str()));

    let store = S3Store::connect(Settings { require_content_md5: false, ..stub.settings() }, &mut Clients::default())
        .await
        .expect("connect");
    store.delete(&[key("a"), key("b")]).await.expect("delete");
    assert_eq!(stub.requests()[1].header("content-md5"), None);
}

/// A key that may not delete: the batch as such is refused, one object alone is an object that
/// stays.
#[tokio::test]
async fn credentials_that_may_not_delete_are_told_from_a_store_without_batches() {
    let stub = Stub::start(|_, _| Reply::error(403, "AccessDenied")).await;
    let store = stub.store().await;
    let error = store.delete(&[key("a"), key("b")]).await.expect_err("403");
    assert!(matches!(error, StoreError::Denied { .. }), "{error:?}");
    assert_eq!(stub.requests().len(), 1, "neither tried again nor one by one");
    let done = store.delete(&[key("a")]).await.expect("an answer");
    assert_eq!((done.deleted, done.refused.len()), (0, 1));
}

#[tokio::test]
async fn a_store_without_batch_deletes_is_asked_once() {
    for (status, code) in [(501, "NotImplemented"), (400, "MalformedXML"), (405, "MethodNotAllowed")] {
        let stub = Stub::start(move |request, _| match request.method.as_str() {
            "POST" => Reply::error(status, code),
            _ if request.target.contains("/locked") => Reply::error(403, "AccessDenied"),
            _ => Reply::status(204, ""),
        })
        .await;
        let store = stub.store().await;
        for _ in 0..2 {
            let done = store.delete(&[key("a"), key("locked"), key("c")]).await.expect("delete");
            assert_eq!((done.deleted, done.refused.len()), (2, 1), "{code}");
        }
        let posts = stub.requests().iter().filter(|r| r.method == "POST").count();
        assert_eq!((posts, stub.requests().len()), (1, 7), "{code}");
    }
}
