// The tour: what a newcomer runs one after another. Each takes its variables from ids of this network.

export const TOUR = [
  {
    name: "system",
    title: "1 · The network",
    query: `# The whole network in numbers, and the blob that is nearest to being lost.
query System {
  system {
    epoch { number phase endsAt }
    blobCount
    certifiedBytes
    capacityBytes
    nodesActive
    worstDurability { liveShards requiredShards marginShards toleratedNodeLosses }
  }
}`,
  },
  {
    name: "blobs",
    title: "2 · Blobs",
    query: `# The newest blobs. Copy an id: the next queries ask about one.
query Blobs {
  blobs(first: 10) {
    nodes { blobId state unencodedSize encodedSize endEpoch contentUrl }
    totalCount
  }
}`,
  },
  {
    name: "blob",
    title: "3 · One blob",
    needs: ["blobId"],
    query: `# How safely it is stored right now, and who holds its slivers.
query Blob($blobId: BlobID!) {
  blob(blobId: $blobId) {
    state
    unencodedSize
    endEpoch
    durability { liveShards marginShards toleratedNodeLosses checkedAt }
    certificate { epoch weight quorumThreshold verified }
    slivers(first: 20, axis: PRIMARY) { nodes { pair shard stored node { name } } }
  }
}`,
  },
  {
    name: "nodes",
    title: "4 · Nodes",
    query: `# The nodes, and why one is not well.
query Nodes {
  storageNodes(first: 20) {
    nodes {
      name
      phase
      weight
      eventLag
      health { nodeStatus height storedSlivers incompleteBlobs corruptSlivers }
      diagnosis { severity summary remedy }
    }
  }
}`,
  },
  {
    name: "committee",
    title: "5 · Who owns what",
    query: `# The committee: shards are the weights that everything is counted in.
query Committee {
  committee { epoch nShards maxFaultyShards quorumThreshold }
  shardMap { weight shards node { name } }
}`,
  },
  {
    name: "epoch",
    title: "6 · Change of epoch",
    query: `# How the epoch took over from the one before, and which shards moved.
query Epoch {
  epoch {
    number
    phase
    endsAt
    transition { startedAt finishedAt forced doneWeight quorumWeight plannedMoves finishedMoves }
    shardMoves(first: 20) { nodes { shard state fromNode { name } toNode { name } } }
  }
}`,
  },
  {
    name: "plan",
    title: "7 · What if",
    needs: ["nodeId"],
    query: `# What voting end would decide if this stake were there: the very function that decides.
query WhatIf($nodeId: ID!) {
  simulateAssignment(stakeChanges: [{ node: $nodeId, delta: "1000000000000" }]) {
    possible
    bytesToMove
    moves { shard fromNode { name } toNode { name } }
    warnings
  }
}`,
  },
  {
    name: "proof",
    title: "8 · Proofs",
    needs: ["blobId"],
    query: `# The certificate with the bytes that were signed, and the blob read and encoded again.
query Proof($blobId: BlobID!) {
  certificate(blobId: $blobId) { message signature signers epoch weight verified }
  verifyBlob(blobId: $blobId, strict: true) { valid checks { name passed } }
}`,
  },
  {
    name: "cost",
    title: "9 · What it costs",
    query: `# As the ledger prices now: a mebibyte for five epochs.
query Cost {
  estimateCost(sizes: ["1048576"], epochs: 5) { encodedSize units storageCost writeCost total }
}`,
  },
  {
    name: "events",
    title: "10 · Events",
    query: `# What happened last.
query Events {
  events(last: 10) { nodes { __typename sequence epoch } }
}`,
  },
];

export const IDS = `query Ids { blobs(first: 1, filter: { state: CERTIFIED }) { nodes { blobId } } storageNodes(first: 1) { nodes { id } } }`;

/** The variables of a tour query, filled with ids of this network where it has any. */
export function variablesOf(step, ids) {
  if (!step.needs) return "";
  return JSON.stringify(Object.fromEntries(step.needs.map((name) => [name, ids[name] ?? ""])), null, 2);
}
