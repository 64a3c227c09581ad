//! Whole numbers with bounds.

/// Declares types of whole numbers, each with its bounds.
#[macro_export]
macro_rules! bounded_number {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $range:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($type);

        impl $name {
            pub fn get(self) -> $type {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = $crate::Invalid;
            fn try_from(value: u64) -> Result<Self, $crate::Invalid> {
                match <$type>::try_from(value) {
                    Ok(value) if $range.contains(&value) => Ok(Self(value)),
                    _ => Err($crate::Invalid::new(format!("is not {}–{}", $range.start(), $range.end()))),
                }
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> u64 {
                value.0.into()
            }
        }
    )*};
}
