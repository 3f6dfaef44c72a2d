'use strict';

// A client of the cache in another language, written as an application with
// ioredis would be. The tests in this folder run it:
//
//   node client.js HOST:PORT[,HOST:PORT…] '["write","order:42",{"id":42},60]' '["read","order:42"]'
//
// Several addresses are those of a Redis Cluster. Each further argument is an
// action and its arguments, as JSON; the actions run one after the other, and
// their results are printed as one JSON array. An action that is not below is
// ioredis' own method of that name.

const Redis = require('ioredis');

const actions = {
  // Reads a value; null where there is none.
  read: async (redis, key) => JSON.parse(await redis.get(key)),

  // Stores a value that does not come from the database.
  write: (redis, key, value, seconds) => redis.set(key, JSON.stringify(value), 'EX', seconds),

  // Changes some fields of a value, and leaves the others and its TTL.
  merge: async (redis, key, fields) => {
    const value = JSON.parse(await redis.get(key));
    return redis.set(key, JSON.stringify({ ...value, ...fields }), 'KEEPTTL');
  },

  // Invalidates a key as the library does: first the lease, so that whoever
  // loads the key now stores nothing, and then the value.
  invalidate: (redis, key) => both(redis.pipeline().unlink(leaseKey(key)).unlink(key)),

  // Invalidates a key and stores another value at once.
  replace: (redis, key, value, seconds) =>
    both(redis.pipeline().unlink(leaseKey(key)).set(key, JSON.stringify(value), 'EX', seconds)),
};

// A key's lease is in the same Cluster slot. Keys with a "}" that is not the end
// of a hash tag have a third form, which an application in another language does
// without.
function leaseKey(key) {
  if (!key.includes('}')) return `freshet:lease:{${key}}`;
  if (/^[^{]+\{[^}]+\}/.test(key)) return `freshet:lease:${key}`;
  throw new Error(`${key}: use keys without braces, or with a hash tag behind other text`);
}

async function both(pipeline) {
  return (await pipeline.exec()).map(([error, reply]) => {
    if (error) throw error;
    return reply;
  });
}

function connect(addresses) {
  const nodes = addresses.split(',').map((address) => {
    const [host, port] = address.split(':');
    return { host, port: Number(port) };
  });
  return nodes.length === 1 ? new Redis(nodes[0]) : new Redis.Cluster(nodes);
}

async function main([addresses, ...steps]) {
  const redis = connect(addresses);
  try {
    const results = [];
    for (const step of steps) {
      const [name, ...args] = JSON.parse(step);
      const action = actions[name] ?? ((_, ...rest) => redis[name](...rest));
      results.push(await action(redis, ...args));
    }
    console.log(JSON.stringify(results));
  } finally {
    redis.disconnect();
  }
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
