// The table: one client for all calls of a process, made while the process starts, with its connection kept open.
import {
  BatchGetItemCommand,
  DynamoDBClient,
  GetItemCommand,
  QueryCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { marshall, unmarshall } from "@aws-sdk/util-dynamodb";
import { NodeHttpHandler } from "@smithy/node-http-handler";
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent } from "node:https";

/** How many numbers of a counter are kept with their marks. */
const SLOTS = 8;
const { env } = process;
const TableName = env.TABLE_NAME;

// Everything is given: no chain of providers and no file of settings is gone through at the first call.
const client = new DynamoDBClient({
  region: env.AWS_REGION,
  endpoint: env.AWS_ENDPOINT_URL_DYNAMODB,
  credentials: {
    accessKeyId: env.AWS_ACCESS_KEY_ID,
    secretAccessKey: env.AWS_SECRET_ACCESS_KEY,
    sessionToken: env.AWS_SESSION_TOKEN,
  },
  maxAttempts: 5,
  retryMode: "standard",
  defaultsMode: "standard",
  requestHandler: new NodeHttpHandler({
    connectionTimeout: 1000,
    requestTimeout: 5000,
    // Trusting these alone spares the process the reading of the 140 roots that Node.js brings along.
    httpsAgent: new Agent({ keepAlive: true, maxSockets: 50, ca: readFileSync(env.AWS_CA_BUNDLE) }),
  }),
});

const OPTIONS = { removeUndefinedValues: true };

/** A key from its segments; what is inside them can't pose as the boundary between two. */
export const join = (...segments) =>
  segments.map((segment) => segment.replace(/[#%]/g, (c) => (c === "#" ? "%23" : "%25"))).join("#");

export const key = (pk, sk = ["META"]) => ({ PK: join(...pk), SK: join(...sk) });

/** The partition of an index that an id's list entry lives in. */
export const listShard = (id) => {
  let sum = 0;
  for (let i = 0; i < id.length; i++) sum = (sum * 31 + id.charCodeAt(i)) & 255;
  return String(sum % 4);
};

/** Items by their keys, in the order asked for; undefined where there is none. */
export async function batchGet(keys) {
  const found = new Map();
  let pending = { [TableName]: { Keys: keys.map((key) => marshall(key)), ConsistentRead: true } };
  while (pending?.[TableName]) {
    const output = await client.send(new BatchGetItemCommand({ RequestItems: pending }));
    for (const item of output.Responses?.[TableName] ?? []) {
      const plain = unmarshall(item);
      found.set(`${plain.PK} ${plain.SK}`, plain);
    }
    pending = output.UnprocessedKeys;
  }
  return keys.map(({ PK, SK }) => found.get(`${PK} ${SK}`));
}

export async function get(key) {
  const { Item } = await client.send(new GetItemCommand({ TableName, Key: marshall(key), ConsistentRead: true }));
  return Item && unmarshall(Item);
}

/** The item after an update, as `item`, or before it, as `old`, when its condition didn't hold. */
async function update(key, UpdateExpression, ConditionExpression, ExpressionAttributeNames, values) {
  try {
    const { Attributes } = await client.send(
      new UpdateItemCommand({
        TableName,
        Key: marshall(key),
        UpdateExpression,
        ConditionExpression,
        ExpressionAttributeNames,
        ExpressionAttributeValues: marshall(values),
        ReturnValues: "ALL_NEW",
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      }),
    );
    return { item: unmarshall(Attributes) };
  } catch (error) {
    if (error.name === "ConditionalCheckFailedException") return { old: error.Item ? unmarshall(error.Item) : {} };
    throw error;
  }
}

/** Takes the next number of a counter, once however often the SDK repeats the call: it leaves a mark in one of the slots. */
export async function nextNumber(key, counter) {
  const slot = randomInt(SLOTS);
  const { item, old } = await update(
    key,
    "SET #number = if_not_exists(#counter, :zero) + :one, #mark = :mark ADD #counter :one",
    "attribute_not_exists(#mark) OR #mark <> :mark",
    { "#counter": counter, "#number": `number${slot}`, "#mark": `mark${slot}` },
    { ":zero": 0, ":one": 1, ":mark": randomBytes(9).toString("base64url") },
  );
  return (item ?? old)[`number${slot}`];
}

/** Moves a clock by a step: from now if it isn't ahead, or else from where it stands, up to the latest. */
export async function moveClock(key, now, step, latest) {
  const names = { "#clock": "arrival", "#expires": "expires_at" };
  const expires = Math.floor(now / 1e6) + 180;
  const restart = () =>
    update(
      key,
      "SET #clock = :to, #expires = :expires",
      "attribute_not_exists(#clock) OR #clock <= :at",
      names,
      { ":to": now + step, ":at": now, ":expires": expires },
    );
  const goOn = () =>
    update(
      key,
      "SET #clock = #clock + :step, #expires = :expires",
      "#clock <= :latest",
      names,
      { ":step": step, ":latest": latest, ":expires": expires },
    );
  for (let move = restart; ; ) {
    const { item, old } = await move();
    if (item !== undefined) return { arrival: item.arrival, moved: true };
    if (old.arrival > latest) return { arrival: old.arrival, moved: false };
    move = old.arrival > now ? goOn : restart;
  }
}

/** Items of a partition that pass a filter. */
export async function query(pk, after, filter, limit) {
  const { Items } = await client.send(
    new QueryCommand({
      TableName,
      KeyConditionExpression: "#pk = :pk AND #sk > :sk",
      FilterExpression: filter.expression,
      ExpressionAttributeNames: { "#pk": "PK", "#sk": "SK", ...filter.names },
      ExpressionAttributeValues: marshall({ ":pk": pk, ":sk": after, ...filter.values }),
      Limit: limit,
      ConsistentRead: true,
      ScanIndexForward: true,
    }),
  );
  return Items.map((item) => unmarshall(item));
}

/** Writes an item that must not exist yet. */
export const create = (item) => ({
  Put: {
    TableName,
    Item: marshall(item, OPTIONS),
    ConditionExpression: "attribute_not_exists(#pk)",
    ExpressionAttributeNames: { "#pk": "PK" },
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  },
});

/** Writes an item that must not exist yet, or whose time must be over: DynamoDB deletes late. */
export const createOrRenew = (item, now) => ({
  Put: {
    TableName,
    Item: marshall(item, OPTIONS),
    ConditionExpression: "attribute_not_exists(#pk) OR #expires <= :now",
    ExpressionAttributeNames: { "#pk": "PK", "#expires": "expires_at" },
    ExpressionAttributeValues: marshall({ ":now": Math.floor(now / 1000) }),
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  },
});

/** Removes the revision that was read. */
export const remove = ({ PK, SK, rev }) => ({
  Delete: {
    TableName,
    Key: marshall({ PK, SK }),
    ConditionExpression: "#rev = :rev",
    ExpressionAttributeNames: { "#rev": "rev" },
    ExpressionAttributeValues: marshall({ ":rev": rev }),
  },
});

/** Makes the writes together or not at all; gives the positions of those that were refused. */
export async function transact(writes) {
  try {
    await client.send(new TransactWriteItemsCommand({ TransactItems: writes }));
    return [];
  } catch (error) {
    if (error.name !== "TransactionCanceledException") throw error;
    const refused = error.CancellationReasons.flatMap(({ Code }, i) => (Code === "ConditionalCheckFailed" ? [i] : []));
    if (refused.length === 0) throw error;
    return refused;
  }
}
