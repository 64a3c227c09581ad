//! Lists: `{"data": […], "next_cursor": string|null}`.

use domain::Invalid;
use serde::{Deserialize, Serialize};
use table::{Cursor, Page};
use utoipa::{IntoParams, ToSchema};

use crate::Problem;

/// Query parameters of every list.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Position at which the page begins: `next_cursor` of the previous page. Leave it out for the first page.
    pub cursor: Option<String>,
    /// Maximum number of entries in the page, 1–100. The default is 20.
    #[param(minimum = 1, maximum = 100)]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// Parses the cursor.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub fn cursor(&self) -> Result<Option<Cursor>, Problem> {
        let parse =
            |text: &String| text.parse().map_err(|invalid: Invalid| Problem::invalid("cursor", &invalid));
        self.cursor.as_ref().map(parse).transpose()
    }

    /// Returns the size of the page.
    ///
    /// # Errors
    /// A problem that names the parameter.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit.unwrap_or(20) {
            limit @ 1..=100 => Ok(limit as usize),
            _ => Err(Problem::field("limit", "is not 1–100")),
        }
    }
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct List<T> {
    /// Entries of the page.
    pub data: Vec<T>,
    /// Cursor of the next page; `null` on the last page.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// Returns a list with a single page.
    pub fn whole(data: impl IntoIterator<Item = T>) -> Self {
        Self { data: data.into_iter().collect(), next_cursor: None }
    }
}

impl<T> From<Page<T>> for List<T> {
    fn from(page: Page<T>) -> Self {
        Self { data: page.data, next_cursor: page.next.map(|cursor| cursor.to_string()) }
    }
}
