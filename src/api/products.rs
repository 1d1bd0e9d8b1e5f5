//! `/api/products` and `/api/products/{id}`.

use std::borrow::Cow;

use uuid::Uuid;

use crate::api::entity_tag::is_named_by;
use crate::exchange::{Body, Exchange, Reply};
use crate::products::{CreateError, MAX_STORED_BYTES, ProductStore};
use crate::redis_client::Unavailable;
use crate::route::{percent_decoded, query};
use crate::validation::{self, FieldError};
use crate::{api, problem};

/// The longest page, in products.
pub const MAX_PAGE: u32 = 1_000;

/// The longest idempotency key, in characters.
pub const LONGEST_IDEMPOTENCY_KEY: usize = 255;

/// 201 and the product, or what was wrong with it. With an `Idempotency-Key` that was used before, the first answer again.
pub fn create<E: Exchange>(exchange: &mut E, products: &dyn ProductStore, max_body_bytes: usize) -> Reply {
    let key = match exchange.header("idempotency-key").map(idempotency_key) {
        Some(None) => return problem::bad_idempotency_key(LONGEST_IDEMPOTENCY_KEY),
        Some(Some(key)) => Some(key.to_owned()),
        None => None,
    };
    api::with_json_body(exchange, max_body_bytes, |body| match validation::new_product(body) {
        Ok(new) => match products.create(&new, key.as_deref()) {
            Ok(product) => Reply::json(201, Body::Shared(product.json))
                .with("Location", format_args!("/api/products/{}", product.id)),
            Err(CreateError::Full) => problem::products_full(products.max_products(), MAX_STORED_BYTES),
            Err(CreateError::KeyReused) => problem::idempotency_key_reused(),
            // With a key the client can simply ask again: there is no doubt that matters.
            Err(CreateError::Unavailable(unavailable)) if unavailable.in_doubt && key.is_none() => {
                problem::product_in_doubt(unavailable.retry_in)
            }
            Err(CreateError::Unavailable(unavailable)) => problem::products_unavailable(unavailable.retry_in),
        },
        Err(error) => problem::invalid_body(error),
    })
}

/// A key is 1 to 255 visible ASCII characters; whether it is quoted makes no difference as long as it is so each time.
fn idempotency_key(value: &[u8]) -> Option<&str> {
    let fits = (1..=LONGEST_IDEMPOTENCY_KEY).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(value).ok().filter(|_| fits)
}

/// 200 and all products, or the page that `limit` and `after` ask for; 304 when the client has them.
pub fn list<E: Exchange>(exchange: &E, products: &dyn ProductStore) -> Reply {
    let query = match Query::parse(query(exchange.target())) {
        Ok(query) => query,
        Err(errors) => return problem::invalid_query(errors),
    };
    or_unavailable(find_page(exchange, products, &query))
}

fn find_page<E: Exchange>(exchange: &E, products: &dyn ProductStore, query: &Query) -> Result<Reply, Unavailable> {
    // Taken before the products are: a change in between makes the tag older than the page, never newer.
    let tag = products.entity_tag()?;
    if exchange.header_values("if-none-match").any(|tags| is_named_by(&tag, tags)) {
        return Ok(Reply::empty(304).with("ETag", tag).with("Cache-Control", "no-cache"));
    }
    let page = products.page(query.limit.map(|limit| limit as usize), query.after)?;
    let reply = Reply::json(200, Body::Owned(page.json)).with("ETag", tag).with("Cache-Control", "no-cache");
    Ok(match (page.next_after, query.limit) {
        (Some(after), Some(limit)) => {
            reply.with("Link", format_args!("</api/products?limit={limit}&after={after}>; rel=\"next\""))
        }
        (_, None) | (None, _) => reply,
    })
}

/// 200 and the product, or 404.
#[must_use]
pub fn get(products: &dyn ProductStore, id: &str) -> Reply {
    let Some(id) = parse_id(id) else { return problem::no_such_product() };
    or_unavailable(products.get(&id).map(|found| match found {
        Some(json) => Reply::json(200, Body::Shared(json)),
        None => problem::no_such_product(),
    }))
}

/// 204, or 404.
#[must_use]
pub fn delete(products: &dyn ProductStore, id: &str) -> Reply {
    let Some(id) = parse_id(id) else { return problem::no_such_product() };
    match products.delete(&id) {
        Ok(true) => Reply::empty(204),
        Ok(false) => problem::no_such_product(),
        Err(unavailable) if unavailable.in_doubt => problem::deletion_in_doubt(unavailable.retry_in),
        Err(unavailable) => problem::products_unavailable(unavailable.retry_in),
    }
}

fn or_unavailable(answered: Result<Reply, Unavailable>) -> Reply {
    answered.unwrap_or_else(|unavailable| problem::products_unavailable(unavailable.retry_in))
}

/// Ids have one spelling: 36 characters.
fn parse_id(text: &str) -> Option<Uuid> {
    if text.len() == 36 { Uuid::try_parse(text).ok() } else { None }
}

#[derive(Debug, Default, PartialEq)]
struct Query {
    limit: Option<u32>,
    after: Option<Uuid>,
}

impl Query {
    /// Of a parameter that is given twice the last one counts; unknown ones are ignored.
    fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        let mut parsed = Self::default();
        let mut errors = Vec::new();
        if let Some(limit) = last_value(query, "limit") {
            validation::query_limit(&limit, MAX_PAGE)
                .map_or_else(|error| errors.push(error), |limit| parsed.limit = Some(limit));
        }
        if let Some(after) = last_value(query, "after") {
            validation::query_uuid("after", &after)
                .map_or_else(|error| errors.push(error), |after| parsed.after = Some(after));
        }
        if errors.is_empty() { Ok(parsed) } else { Err(errors) }
    }
}

fn last_value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    let named = |pair: &&str| percent_decoded(pair.split('=').next().unwrap_or_default()) == name;
    let pair = query.rsplit('&').find(named)?;
    Some(percent_decoded(pair.split_once('=').map_or("", |(_, value)| value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_is_read_leniently_but_its_values_are_not() {
        let id = "0190a5c4-0000-7000-8000-000000000000";
        let parsed = Query::parse(&format!("x=1&limit=9&limit=%32&after={id}&&=")).unwrap();
        assert_eq!(parsed, Query { limit: Some(2), after: Uuid::try_parse(id).ok() });
        assert_eq!(Query::parse(""), Ok(Query::default()));
        assert_eq!(Query::parse("limit=0&after=x").unwrap_err().len(), 2);
    }

    #[test]
    fn only_the_36_character_spelling_is_an_id() {
        assert!(parse_id("0190a5c4-0000-7000-8000-000000000000").is_some());
        for other in ["", "42", "0190a5c4000070008000000000000000", "{0190a5c4-0000-7000-8000-000000000000}"] {
            assert_eq!(parse_id(other), None, "{other}");
        }
    }
}
