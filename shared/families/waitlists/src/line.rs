//! Order of the entries in a waitlist's line.
//!
//! Each entry takes a number when it enters the line. Each referral moves its referrer forward by a number of
//! places. An entry that was moved precedes the entry whose number it reached. Two entries that were moved to the
//! same number keep the order of their own numbers. Therefore the order is a function of (number, places) alone: the
//! sequence in which referrals are counted does not matter, and revoking a referral restores the former order.
//!
//! The position of an entry is 1 + the number of entries before it. Positions are computed from counters and a count
//! within one leaf, instead of reading all entries before. For this, the line is divided into *leaves* of
//! [`LEAF_WIDTH`] keys, a *branch* counts the entries in each of its [`FANOUT`] leaves, and the *root* counts the
//! entries under each of its [`FANOUT`] branches. The branch and the root store their counts as a Fenwick tree, so
//! the sum over the first children needs at most seven counters.

/// Number of children of the root and of each branch.
pub const FANOUT: u16 = 128;
/// Number of keys in a leaf. A number spans two keys, so a leaf holds 256 entries that no referral has moved.
pub const LEAF_WIDTH: i64 = 512;
/// Number of leaves reserved for entries that referrals moved ahead of the first number.
const LEAVES_BEFORE_FIRST: i64 = 512;

/// Sort key of an entry in its waitlist's line. A smaller key is closer to the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    key: i64,
    number: u64,
}

/// A leaf of the tree: child number `leaf` of the root's branch number `branch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    pub branch: u16,
    pub leaf: u16,
}

impl Place {
    /// Creates the sort key of an entry. `number` is the entry's number in line, counted from 1. `places` is the
    /// total number of places that the entry's referrals move it forward.
    pub fn new(number: u64, places: u64) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let key = 2 * (signed(number) - signed(places)) - i64::from(places > 0);
        Self { key, number }
    }

    /// Returns the leaf that counts this entry. Numbers beyond 4 million all fall into the last leaf: their
    /// positions stay exact but become slower to read.
    pub fn leaf(self) -> Leaf {
        let fanout = i64::from(FANOUT);
        let index = (self.key.div_euclid(LEAF_WIDTH) + LEAVES_BEFORE_FIRST).clamp(0, fanout * fanout - 1);
        let part = |value: i64| u16::try_from(value).unwrap_or_default();
        Leaf { branch: part(index / fanout), leaf: part(index % fanout) }
    }

    /// Returns the sort key as text of two fixed-width numbers. The texts sort in the same order as the places.
    pub fn sort_key(self) -> String {
        // Flipping the sign bit maps i64 to u64 in order.
        format!("{:020}.{:020}", self.key.cast_unsigned() ^ (1 << 63), self.number)
    }
}

/// Number of the counter that holds all entries of a branch or of the root. In general, counter `node` holds the
/// entries under the `node & -node` children that end with child `node - 1`.
pub const ALL: u16 = FANOUT;

/// Returns the counters whose sum is the number of entries under the first `children` children: at most seven.
pub fn counters_summed(children: u16) -> impl Iterator<Item = u16> {
    std::iter::successors(Some(children), |node| Some(node & node.wrapping_sub(1)))
        .take_while(|node| *node > 0)
}

/// Returns the counters in which an entry under this child is counted: at most eight.
pub fn counters_of(child: u16) -> impl Iterator<Item = u16> {
    std::iter::successors(Some(child + 1), |node| Some(node + (node & node.wrapping_neg())))
        .take_while(|node| *node <= FANOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Computes the order by definition: sorts all entries by their places.
    fn order(entries: &[(u64, u64)]) -> Vec<u64> {
        let mut sorted = entries.to_vec();
        sorted.sort_by_key(|(number, places)| Place::new(*number, *places));
        sorted.into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn a_referral_moves_its_owner_up_so_many_places_and_never_above_the_first() {
        for (places, expected) in [
            (0, [1, 2, 3, 4, 5]),
            (1, [1, 2, 3, 5, 4]),
            (3, [1, 5, 2, 3, 4]),
            (4, [5, 1, 2, 3, 4]),
            (1000, [5, 1, 2, 3, 4]),
        ] {
            let entries: Vec<_> =
                (1..=5).map(|number| (number, if number == 5 { places } else { 0 })).collect();
            assert_eq!(order(&entries), expected, "{places} places");
        }
    }

    #[test]
    fn two_carried_to_one_place_stand_in_the_order_of_joining() {
        assert_eq!(order(&[(1, 0), (2, 1), (3, 2)]), [2, 3, 1]);
    }

    #[test]
    fn extremes_stay_in_order() {
        let (first, last) = (Place::new(1, u64::MAX), Place::new(u64::MAX, 0));
        assert!(first < last && first.sort_key() < last.sort_key());
        assert_eq!(first.leaf(), Leaf { branch: 0, leaf: 0 });
        assert_eq!(last.leaf(), Leaf { branch: 127, leaf: 127 });
    }

    #[test]
    fn the_sum_over_the_first_children_counts_each_of_them_once_and_no_other() {
        for child in 0..FANOUT {
            let counted: Vec<_> = counters_of(child).collect();
            assert!(counted.len() <= 8 && counted.contains(&ALL), "child {child}");
            for children in 0..=FANOUT {
                let summed: Vec<_> = counters_summed(children).collect();
                let times = summed.iter().filter(|node| counted.contains(node)).count();
                assert_eq!(times, usize::from(child < children), "child {child} in the first {children}");
                assert!(summed.len() <= 7 && summed.iter().all(|node| (1..=FANOUT).contains(node)));
            }
        }
    }

    proptest! {
        #[test]
        fn text_and_leaves_sort_as_places_do(a in (1..5_000_000u64, 0..200_000u64), b in (1..5_000_000u64, 0..200_000u64)) {
            let (a, b) = (Place::new(a.0, a.1), Place::new(b.0, b.1));
            prop_assert_eq!(a.cmp(&b), a.sort_key().cmp(&b.sort_key()));
            if a < b {
                prop_assert!(a.leaf() <= b.leaf());
            }
        }
    }
}
