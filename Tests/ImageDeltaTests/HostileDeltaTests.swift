import Base
import ImageDelta
import ImageDeltaCreate
import TestSupport
import Testing

@Suite struct HostileDeltaTests {
    /// Applies altered delta bytes: an error of this module, or the right output; nothing else.
    private func expectRefusal(
        _ bytes: [UInt8], _ workshop: Workshop, bases: [String], expected: [UInt8], _ what: String
    ) throws {
        let path = try workshop.put("hostile", bytes)
        do {
            let output = try workshop.apply(path, bases: bases)
            #expect(output == expected, "\(what): accepted, with another output")
        } catch let error as DeltaError {
            #expect(error.code.hasPrefix("delta."))
        }
    }

    @Test func everyTruncationIsRefused() async throws {
        let workshop = try Workshop()
        let old = RoundTripTests.layer(seed: 1, changed: false)
        let new = RoundTripTests.layer(seed: 1, changed: true)
        let made = try await workshop.create(bases: [old], new: new)
        let delta = try workshop.bytes("delta")
        for length in stride(from: 0, to: delta.count, by: max(1, delta.count / 150)) {
            let path = try workshop.put("short", Array(delta.prefix(length)))
            #expect(throws: DeltaError.self, "\(length) of \(delta.count) bytes") {
                _ = try workshop.apply(path, bases: made.bases)
            }
        }
        let longer = try workshop.put("long", delta + [0])
        #expect(throws: DeltaError.self) { _ = try workshop.apply(longer, bases: made.bases) }
    }

    @Test(arguments: UInt64(0)..<6)
    func alteredBytesNeverChangeTheOutput(seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let workshop = try Workshop()
        let old = RoundTripTests.layer(seed: seed, changed: false)
        let new = RoundTripTests.layer(seed: seed, changed: true)
        let made = try await workshop.create(bases: [old], new: new, effort: 3)
        let delta = try workshop.bytes("delta")
        for round in 0..<80 {
            var altered = delta
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                altered[Int.random(in: 0..<altered.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            try expectRefusal(altered, workshop, bases: made.bases, expected: new, "seed \(seed), round \(round)")
        }
    }

    @Test func aWrongBaseIsFoundBeforeWorkStarts() async throws {
        let workshop = try Workshop()
        let old = RoundTripTests.layer(seed: 1, changed: false)
        let made = try await workshop.create(bases: [old], new: RoundTripTests.layer(seed: 1, changed: true))
        var other = old
        other[2_000] ^= 1
        let delta = try DeltaApply(path: made.delta)
        let changed = try TarFileBase(paths: [try workshop.put("other.tar", other)])
        #expect(throws: DeltaError.self) { try BaseCheck(header: delta.header).verify(changed) }
        let short = try TarFileBase(paths: [try workshop.put("short.tar", Array(old.dropLast()))])
        do {
            try BaseCheck(header: delta.header).verify(short)
            Issue.record("a shorter base was accepted")
        } catch {
            #expect(error.reason == .wrongBase)
            #expect(error.message.contains("\(old.count)"))
        }
    }
}
