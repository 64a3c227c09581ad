#!/usr/bin/env bash
# Sends changes to the projector again that it could not count.
#
#     replay.sh <stack>                  changes at which the messages in ProjectorDeadLetters point, from the table's stream (24 hours)
#     replay.sh <stack> <file.json.gz>…  changes in an incremental export of the table, of the last 29 days
#
# The projector counts each change once, so it is harmless to replay changes that were counted. But an export contains
# the state of an item before and after the range of the export, and not the changes in between.
#
# Needs the AWS CLI 2 and jq. The script can be interrupted and run again.
set -euo pipefail
stack=${1:?usage: replay.sh <stack> [<file.json.gz>…]}
shift
export AWS_PAGER= TZ=UTC
# The record that a change was counted is kept for one day longer (REPLAYED_WITHIN). An older change would be counted
# twice.
DAYS=29 # the age of the oldest change that may be replayed
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Reads stream records, one per line, and sends them to the projector in batches of the same size as Lambda's.
count() {
  split --lines 100 - "$work/batch-"
  local batch
  for batch in "$work"/batch-*; do
    [ -e "$batch" ] || return 0
    jq --slurp '{Records: .}' "$batch" >"$work/event"
    aws lambda invoke --function-name "$stack-projector" --qualifier live --cli-binary-format raw-in-base64-out \
      --payload "file://$work/event" "$work/answer" >"$work/outcome"
    if ! jq --exit-status 'has("FunctionError") | not' "$work/outcome" >/dev/null ||
      ! jq --exit-status '.batchItemFailures == []' "$work/answer" >/dev/null; then
      echo "the projector fails: $(cat "$work/answer")" >&2
      exit 1
    fi
    echo "counted $(wc -l <"$batch") records"
    rm "$batch"
  done
}

# The CLI prints a record in the format in which Lambda sends it, except for the time: Lambda gives whole seconds.
if [ $# -gt 0 ]; then
  oldest=$(($(date +%s) - DAYS * 24 * 60 * 60))
  if ! gunzip --stdout "$@" | jq --exit-status --null-input --argjson oldest "$oldest" \
    'all(inputs; (.Metadata.WriteTimestampMicros.N | tonumber / 1000000) >= $oldest)' >/dev/null; then
    echo "a change in the export is older than $DAYS days: it would be counted twice" >&2
    exit 1
  fi
  gunzip --stdout "$@" | jq --compact-output '{
    eventID: "replay", eventVersion: "1.1", eventSource: "aws:dynamodb", awsRegion: "",
    eventName: (if .NewImage == null then "REMOVE" elif .OldImage == null then "INSERT" else "MODIFY" end),
    dynamodb: {ApproximateCreationDateTime: (.Metadata.WriteTimestampMicros.N | tonumber / 1000000 | floor), Keys, SequenceNumber: "0", SizeBytes: 0,
      StreamViewType: "NEW_AND_OLD_IMAGES", NewImage: (.NewImage // {}), OldImage: (.OldImage // {})}}' | count
  exit
fi

physical() {
  aws cloudformation describe-stack-resource --stack-name "$1" --logical-resource-id "$2" \
    --query StackResourceDetail.PhysicalResourceId --output text
}
queue=$(physical "$(physical "$stack" Storage)" ProjectorDeadLetters)

while true; do
  aws sqs receive-message --queue-url "$queue" --visibility-timeout 600 --output json >"$work/received"
  [ -s "$work/received" ] || break
  jq --raw-output '.Messages[0].Body' "$work/received" | jq '.DDBStreamBatchInfo' >"$work/batch"
  field() { jq --raw-output ".$1" "$work/batch"; }
  first=$(field startSequenceNumber) last=$(field endSequenceNumber)
  if ! iterator=$(aws dynamodbstreams get-shard-iterator --stream-arn "$(field streamArn)" --shard-id "$(field shardId)" \
    --shard-iterator-type AT_SEQUENCE_NUMBER --sequence-number "$first" --query ShardIterator --output text); then
    echo "the stream no longer has the records from $(field approximateArrivalOfFirstRecord) to" \
      "$(field approximateArrivalOfLastRecord): replay an export of that time" >&2
    exit 1
  fi
  while [ "$iterator" != null ]; do
    aws dynamodbstreams get-records --shard-iterator "$iterator" --output json >"$work/page"
    # Sequence numbers are too long for jq's numbers, so they are compared as text: the longer one is the larger one.
    jq --compact-output --arg last "$last" 'def order: [length, .];
      .Records[] | select((.dynamodb.SequenceNumber | order) <= ($last | order))
      | .dynamodb.ApproximateCreationDateTime |= if type == "string"
          then sub("[.][0-9]+"; "") | sub("[+]00:00$"; "Z") | fromdateiso8601 else floor end' "$work/page" | count
    jq --exit-status --arg last "$last" 'def order: [length, .];
      any(.Records[]; (.dynamodb.SequenceNumber | order) >= ($last | order))' "$work/page" >/dev/null && break
    iterator=$(jq --raw-output '.NextShardIterator // "null"' "$work/page")
  done
  aws sqs delete-message --queue-url "$queue" --receipt-handle "$(jq --raw-output '.Messages[0].ReceiptHandle' "$work/received")"
  echo "replayed $first to $last"
done
echo "no message is left in ProjectorDeadLetters"
