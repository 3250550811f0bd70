import Testing

@testable import WireGuard

@Suite struct AddressPlanTests {
    @Test func laysOutHubSiteDeviceAndSlots() throws {
        var plan = try AddressPlan(hub: "fd12:3456:789a::/48")
        let device = try plan.device("device-1", site: "bergen")
        let site = try plan.site("bergen")
        #expect(site.length == 64)
        #expect(plan.hub.contains(site.address))
        #expect(site.contains(device.address(.first)))
        #expect(device.address(.second).low == device.address(.first).low + 1)
        #expect(IPPrefix(device.address(.first), length: 127)?.contains(device.address(.second)) == true)
        let hub = plan.hubAddresses(inSiteOf: device)
        #expect(hub.address(.first) == IPAddress(high: site.address.high, low: 0))
        #expect(hub.address(.second) == IPAddress(high: site.address.high, low: 1))
        #expect(DeviceAddresses(try #require(IPPrefix("\(device)"))) == device)
    }

    @Test func givesTheSameAnswerAgainAndInARebuiltPlan() throws {
        var plan = try AddressPlan(hub: "fd12:3456:789a::/48")
        var rebuilt = plan
        for number in 0..<500 {
            let device = try plan.device("d\(number)", site: "s\(number % 9)")
            #expect(try plan.device("d\(number)", site: "s\(number % 9)") == device)
            #expect(try rebuilt.device("d\(number)", site: "s\(number % 9)") == device)
        }
    }

    @Test func neverGivesAnAddressTwice() throws {
        var plan = try AddressPlan(hub: "fd12:3456:789a::/48")
        var seen: Set<IPAddress> = []
        for number in 0..<20_000 {
            let device = try plan.device("device-\(number)", site: "site-\(number % 300)")
            for slot in Slot.allCases { #expect(seen.insert(device.address(slot)).inserted) }
            #expect(!plan.devices.isEmpty && device.pair != 0)
        }
        #expect(Set(plan.sites.values).count == 300)
    }

    /// The worst digest there is: every name falls on the same place.
    @Test func everyNameOnOnePlaceStillHasItsOwn() throws {
        for place in [0, 1, UInt64.max, UInt64.max >> 1] {
            var plan = try AddressPlan(hub: "fd12:3456:789a::/48", draw: { _ in place })
            var pairs: Set<DeviceAddresses> = []
            for number in 0..<400 {
                let device = try plan.device("\(number)", site: "\(number % 40)")
                #expect(device.pair != 0)
                #expect(pairs.insert(device).inserted)
            }
            #expect(Set(plan.sites.values).count == 40)
            #expect(!plan.sites.values.contains(0))
        }
    }

    @Test func fillsAllSitesAndThenSaysSo() throws {
        var plan = try AddressPlan(hub: "fd12:3456:789a::/48", draw: { $0.hasSuffix("7") ? 65_534 : 0 })
        for number in 1...AddressPlan.maxSites { try plan.restore(site: "\(number)", number: UInt16(number)) }
        #expect(throws: WireGuardError.addressPlan(why: "all 65535 sites are taken")) { try plan.site("one more") }
    }

    @Test func takesBackWhatWasStoredAndRefusesWhatCollides() throws {
        var plan = try AddressPlan(hub: "fd12:3456:789a::/48")
        let device = try plan.device("a", site: "s")
        var restored = try AddressPlan(hub: plan.hub)
        for (name, number) in plan.sites { try restored.restore(site: name, number: number) }
        try restored.restore(device: "a", addresses: device)
        try restored.restore(device: "a", addresses: device)
        #expect(try restored.device("a", site: "s") == device)
        #expect(throws: WireGuardError.self) { try restored.restore(device: "b", addresses: device) }
        #expect(throws: WireGuardError.self) { try restored.restore(site: "t", number: restored.sites["s"] ?? 0) }
        #expect(throws: WireGuardError.self) { try restored.restore(site: "t", number: 0) }
        let hub = restored.hubAddresses(inSiteOf: device)
        #expect(throws: WireGuardError.self) { try restored.restore(device: "c", addresses: hub) }
        let foreign = try #require(DeviceAddresses("fd99::2/127"))
        #expect(throws: WireGuardError.self) { try restored.restore(device: "c", addresses: foreign) }
        restored.release(device: "a")
        try restored.restore(device: "b", addresses: device)
    }

    @Test(arguments: ["10.0.0.0/8", "fd12::/47", "fd12::/64", "2001:db8::/48", "fc00::/48"] as [IPPrefix])
    func refusesAHubPrefixThatIsNoULA(prefix: IPPrefix) {
        #expect(throws: WireGuardError.self) { try AddressPlan(hub: prefix) }
    }

    @Test func generatedHubPrefixesAreULAsAndDiffer() throws {
        let prefixes = try (0..<100).map { _ in try AddressPlan.generateHub() }
        #expect(Set(prefixes).count == 100)
        for prefix in prefixes { _ = try AddressPlan(hub: prefix) }
    }
}
