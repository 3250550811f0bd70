import Glibc

let checks = KernelChecks()
let list: [(String, () throws -> Void)] = [
    ("links, addresses and routes", checks.linksAddressesAndRoutes),
    ("the same as wg(8) for random configurations", { try checks.sameAsTools(rounds: 8) }),
    ("consistent while peers change", checks.consistentUnderChange),
    ("a clock that ran ahead, and one in 1970", checks.clockAhead),
    ("many peers", { try checks.manyPeers(60_000) }),
]
var failures = 0
for (name, body) in list {
    let start = KernelChecks.now()
    do {
        try body()
        Machine.say("ok   \(name) (\(Int(KernelChecks.now() - start)) s)")
    } catch {
        failures += 1
        Machine.say("FAIL \(name): \(error)")
    }
}
Machine.say(failures == 0 ? "kernel-wireguard: passed" : "kernel-wireguard: \(failures) failed")
exit(failures == 0 ? 0 : 1)
