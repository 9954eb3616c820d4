"""The same actors on one event loop, with simulated time, chance, disks, stores and network (`docs/architecture.md`).

    run(main, seed) ── SimLoop ── World ─┬─ ledger     Sequencer over a SimStore
                                         ├─ node-0 …   Replica + StorageNode over SimStore, SimDisk, SimNodeTransport
                                         └─ clients    Replica + Network + Wallet

No actor is written or changed for it: only what stands behind the ports is. One seed gives one run, event by event.
"""
