//! Who stands where on a waitlist.
//!
//! Each entry takes a number when it enters the line. A referral carries its
//! owner forward by so many numbers. An entry that was carried stands before the
//! one that was already at the place it reached; two that were carried to the
//! same place stand in the order of their numbers. The order is therefore a
//! function of (number, places) alone: it does not depend on the order in which
//! referrals were counted, and taking a referral back restores it.
//!
//! A position is 1 + the number of entries before. It is read from counters
//! rather than from entries: the line is cut into *leaves* of [`LEAF_WIDTH`]
//! keys, a *branch* counts the entries in its [`FANOUT`] leaves and the *root*
//! those under its [`FANOUT`] branches. Each keeps its counts as a Fenwick tree,
//! so that the sum over the first children takes few counters, however many
//! children are in use.

/// Children of the root and of each branch.
pub const FANOUT: u16 = 128;
/// Keys in a leaf; a number spans two keys, so that is 256 entries that were not carried.
pub const LEAF_WIDTH: i64 = 512;
/// Leaves kept free for those carried beyond the first number.
const LEAVES_BEFORE_FIRST: i64 = 512;

/// Where an entry stands, relative to the others of its waitlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    key: i64,
    number: u64,
}

/// A leaf of the tree: child `leaf` of branch `branch` of the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Leaf {
    pub branch: u16,
    pub leaf: u16,
}

impl Place {
    /// `number` counts from 1 in the order of entering; `places` is how many
    /// numbers the entry's referrals carry it forward.
    pub fn new(number: u64, places: u64) -> Self {
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let key = 2 * (signed(number) - signed(places)) - i64::from(places > 0);
        Self { key, number }
    }

    /// The leaf that counts this entry. Beyond 4 million numbers the last leaf
    /// takes everything: positions stay exact and get slower to read.
    pub fn leaf(self) -> Leaf {
        let fanout = i64::from(FANOUT);
        let index = (self.key.div_euclid(LEAF_WIDTH) + LEAVES_BEFORE_FIRST).clamp(0, fanout * fanout - 1);
        let part = |value: i64| u16::try_from(value).unwrap_or_default();
        Leaf { branch: part(index / fanout), leaf: part(index % fanout) }
    }

    /// Text that sorts as places do: two fixed-width numbers.
    pub fn sort_key(self) -> String {
        // Flipping the sign bit maps i64 to u64 in order.
        format!("{:020}.{:020}", self.key.cast_unsigned() ^ (1 << 63), self.number)
    }
}

/// Counter `node` of a branch or the root holds the entries under the `node & -node`
/// children up to and including child `node - 1`. This one holds all of them.
pub const ALL: u16 = FANOUT;

/// The counters whose sum is the number of entries under the first `children`; at most seven.
pub fn counters_summed(children: u16) -> impl Iterator<Item = u16> {
    std::iter::successors(Some(children), |node| Some(node & node.wrapping_sub(1)))
        .take_while(|node| *node > 0)
}

/// The counters that an entry under this child is counted in; at most eight.
pub fn counters_of(child: u16) -> impl Iterator<Item = u16> {
    std::iter::successors(Some(child + 1), |node| Some(node + (node & node.wrapping_neg())))
        .take_while(|node| *node <= FANOUT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Positions by definition: sort everybody.
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
