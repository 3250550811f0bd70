import AgentCore
import AgentHub
import AgentTestSupport
import Base
import HubCore
import HubStore
import Model
import TestSupport
import Testing

/// Enrolment broken at each durable operation, on the device and on the hub: afterwards there is one device, one binding
/// a key, one use of the token and no alarm, and the token is gone from the device.
@Suite struct EnrolmentCrashTests {
    /// What enrolment is over with: the answer, trust, and the wiped token.
    private static func isDone(_ device: HubDevice) async throws -> Bool {
        guard try await device.status("lastPoll") != nil, try await device.journal.trustState() != nil else {
            return false
        }
        return try FileSystem().status(Path.join(device.lab.layout.hub, "token")) == nil
    }

    private static func check(_ world: HubWorld, _ what: String) async throws {
        let store = await world.hub.store
        let devices = try await world.hub.devices()
        #expect(devices.count == 1 && devices.first?.state == .active, "\(what): \(devices.count) devices")
        let tokens = try await store.list(.token, selector: .everything, after: nil, limit: 10).records
        #expect(try tokens.map { try TokenRecord(decoding: $0.body).used } == [1], "\(what)")
        #expect(
            try await store.list(.binding, selector: .everything, after: nil, limit: 10).records.count == 2, "\(what)")
        let events = try await store.events(from: 0, limit: 100).map { try AuditEvent(decoding: $0.bytes) }
        #expect(!events.contains { $0.kind.isAlarm }, "\(what): \(events.map(\.kind.rawValue))")
        #expect(events.filter { $0.kind == .deviceEnrolled }.count == 1, "\(what)")
    }

    /// Enrols with a fault at operation `index` of the device; nil counts. The count up to the end of enrolment.
    private func breakDevice(_ fault: FaultPlan.Fault, at index: Int?) async throws -> Int {
        let world = try HubWorld()
        let device = world.device()
        let token = try await world.hub.token()
        let first = try await device.start()
        device.lab.faults.arm(fault, at: index)
        try? await first.enrol(token: token)
        guard let index else {
            try await device.eventually("enrolled") { try await Self.isDone(device) }
            let count = device.lab.faults.count
            await device.stop()
            try await Self.check(world, "without a fault")
            return count
        }
        try await device.eventually("struck at \(index), or done") {
            device.lab.faults.hasStruck ? true : (try? await Self.isDone(device)) == true
        }
        let name = device.lab.faults.names.last ?? ""
        if fault.endsProcess {
            await device.stop()
            device.lab.faults.disarm()
            try await device.start()
        }
        // A person who saw the command fail gives the token again; one whose token was taken is not asked.
        if try await device.status("phase")?.string == "none" { try await device.service.enrol(token: token) }
        try await device.eventually("enrolled after \(fault) at \(index) (\(name))") { try await Self.isDone(device) }
        await device.stop()
        try await Self.check(world, "\(fault) at \(index) (\(name))")
        return index
    }

    @Test(arguments: [FaultPlan.Fault.kill, .fail(errno: 5)])
    func theDeviceIsBrokenAtEachOfItsSteps(fault: FaultPlan.Fault) async throws {
        let count = try await breakDevice(fault, at: nil)
        print("enrolment: \(count) durable operations on the device; \(fault)")
        #expect(count > 20)
        for index in 0..<count { _ = try await breakDevice(fault, at: index) }
    }

    /// The same with the hub's store failing, or its process gone, at operation `index` of the hub.
    @Test func theHubIsBrokenAtEachOfItsSteps() async throws {
        let faults = FaultPlan()
        func play(_ fault: FaultPlan.Fault, at index: Int?) async throws -> Int {
            let world = try HubWorld(hubFaults: faults)
            let device = world.device()
            let token = try await world.hub.token()
            try await device.start()
            faults.arm(fault, at: index)
            try await device.service.enrol(token: token)
            if index != nil {
                try await device.eventually("struck or done") {
                    faults.hasStruck ? true : try await Self.isDone(device)
                }
                // The hub comes back on the same files.
                if fault.endsProcess { try await world.hub.restart { faults.disarm() } }
            }
            if index != nil { faults.disarm() }
            try await device.eventually("enrolled after \(fault) at \(index ?? -1)") { try await Self.isDone(device) }
            let count = faults.count
            await device.stop()
            faults.disarm()
            try await Self.check(world, "hub: \(fault) at \(index ?? -1)")
            return count
        }
        for fault in [FaultPlan.Fault.kill, .fail(errno: 5)] {
            let count = try await play(fault, at: nil)
            print("enrolment: \(count) durable operations on the hub; \(fault)")
            #expect(count > 1)
            for index in 0..<count { _ = try await play(fault, at: index) }
        }
    }
}
