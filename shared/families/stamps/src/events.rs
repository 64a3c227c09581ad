//! Kinds of events of a stamp program.

domain::event_kinds! {
    CUSTOMER_ENROLLED "customer.enrolled" count "program_id" Customer "" [] "A customer enrolled in a program and received a card.";
    STAMP_GIVEN "stamp.given" count "program_id" Customer "stamp_id" ["stamps": Number] "A customer received stamps for a visit.";
    STAMP_VOIDED "stamp.voided" count "program_id" Customer "stamp_id" ["stamps": Number] "The stamps of a visit were voided.";
    MILESTONE_REACHED "milestone.reached" count "program_id" Customer "" ["visits": Number] "A customer reached a visit milestone.";
    CARD_REWARD_ISSUED "card_reward.issued" count "program_id" Customer "card_reward_id" [] "A customer filled a card and earned a reward.";
    CARD_REWARD_REDEEMED "card_reward.redeemed" step "program_id" Customer "card_reward_id" [] "A customer redeemed a reward.";
    CARD_REWARD_WITHDRAWN "card_reward.withdrawn" count "program_id" Customer "card_reward_id" [] "A reward was withdrawn because stamps for which it was given were voided.";
}
