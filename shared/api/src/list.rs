//! Lists: `{"data": […], "next_cursor": string|null}`.

use domain::Invalid;
use serde::{Deserialize, Serialize};
use table::{Cursor, Page};
use utoipa::{IntoParams, ToSchema};

use crate::Problem;

/// The parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Where to go on: `next_cursor` of the page before.
    pub cursor: Option<String>,
    /// Entries in a page, 1–100; 20 when left out.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// # Errors
    /// A problem that names the parameter.
    pub fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        let parse =
            |text: &String| text.parse().map_err(|invalid: Invalid| Problem::invalid("cursor", &invalid));
        self.cursor.as_ref().map(parse).transpose()
    }

    /// # Errors
    /// A problem that names the parameter.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(20) {
            limit @ 1..=100 => Ok(limit as usize),
            _ => Err(Problem::field("limit", "is not 1–100")),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    pub data: Vec<T>,
    /// Where the next page begins; `null` at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A list that has one page.
    pub fn whole(data: impl IntoIterator<Item = T>) -> Self {
        Self { data: data.into_iter().collect(), next_cursor: None }
    }
}

impl<T> From<Page<T>> for List<T> {
    fn from(page: Page<T>) -> Self {
        Self { data: page.data, next_cursor: page.next.map(|cursor| cursor.to_string()) }
    }
}
