import HubCore
import HubProtocol

/// A fleet that polls a hub in virtual time, with the code that both run.
struct PollSimulation<Generator: RandomNumberGenerator> {
    enum End {
        /// The hub was away; devices kept running and their polls failed.
        case hubReturns
        /// The devices had no power, and all start in the same second.
        case powerReturns
        /// What Holdfast does not do: each device tries again at once and then counts from there.
        case naiveReturn
    }

    static var interval: Int { 300 }
    var generator: Generator
    let devices: Int
    let outage: Range<Int>
    let length: Int
    let end: End
    /// Polls that reached the hub, and those it refused, by second.
    var arrivals: [Int]
    var refusals = 0

    init(devices: Int, outage: Range<Int>, intervalsAfter: Int, end: End, generator: Generator) {
        self.generator = generator
        self.devices = devices
        self.outage = outage
        self.end = end
        length = outage.upperBound + intervalsAfter * Self.interval
        arrivals = Array(repeating: 0, count: length)
    }

    var steady: Double { Double(devices) / Double(Self.interval) }

    mutating func run() throws {
        let interval = Double(Self.interval)
        let schedule = PollSchedule(interval: interval)
        var admission = AdmissionControl(.init(rate: steady * 2, burst: steady * 2))
        let ids = try (0..<devices).map { try DeviceID("d-\($0)") }
        let hashes = ids.map(PollSchedule.hash)
        var pacers = Array(repeating: PollPacer(interval: interval), count: devices)
        // One bucket a second; inside a second the order does not matter.
        var calendar = Array(repeating: [(device: Int32, time: Double)](), count: length)
        func plan(_ device: Int, _ time: Double) {
            let second = Int(time)
            if second < calendar.count { calendar[second].append((Int32(device), time)) }
        }
        for device in 0..<devices { plan(device, pacers[device].firstWait(using: &generator)) }
        for second in 0..<length {
            if second == outage.upperBound {
                restart(&calendar, &pacers, at: second)
            }
            // A wait is never shorter than half a second, but one may land in this very second.
            var index = 0
            while index < calendar[second].count {
                let (device, time) = calendar[second][index]
                index += 1
                let wait = poll(
                    Int(device), time, outage.contains(second), schedule, ids, hashes, &admission, &pacers)
                plan(Int(device), time + wait)
            }
            calendar[second] = []
        }
    }

    private mutating func poll(
        _ device: Int, _ time: Double, _ isOut: Bool, _ schedule: PollSchedule, _ ids: [DeviceID], _ hashes: [UInt64],
        _ admission: inout AdmissionControl, _ pacers: inout [PollPacer]
    ) -> Double {
        if isOut {
            return end == .naiveReturn
                ? Double(length) : pacers[device].waitAfterFailure(using: &generator)
        }
        arrivals[Int(time)] += 1
        if end == .naiveReturn { return Double(Self.interval) }
        switch admission.judge(device: hashes[device], .idle, now: time) {
        case .admit:
            return pacers[device].waitAfterAnswer(
                nextPoll: schedule.nextPoll(of: ids[device], now: time), interval: schedule.interval, using: &generator)
        case .tooOften(let retry), .full(let retry):
            refusals += 1
            return pacers[device].waitAfterRefusal(retryAfter: retry, using: &generator)
        }
    }

    /// What the end of the outage is to the devices.
    private mutating func restart(
        _ calendar: inout [[(device: Int32, time: Double)]], _ pacers: inout [PollPacer], at second: Int
    ) {
        guard end != .hubReturns else { return }
        for index in second..<length { calendar[index] = [] }
        for device in 0..<devices {
            let wait = end == .powerReturns ? pacers[device].firstWait(using: &generator) : 0
            let time = Double(second) + wait
            if Int(time) < length { calendar[Int(time)].append((Int32(device), time)) }
        }
    }

    /// The highest arrivals of any second from the end of the outage on, as a multiple of the steady rate.
    var peak: Double { Double(arrivals[outage.upperBound...].max() ?? 0) / steady }

    /// By how much ten-second rates of one interval after the outage (0 is the first) exceed the steady rate,
    /// as a part of it: an echo of the outage would show here.
    func excess(interval number: Int) -> Double {
        let start = outage.upperBound + number * Self.interval
        return stride(from: start, to: start + Self.interval, by: 10).map { from in
            Double(arrivals[from..<(from + 10)].reduce(0, +)) / 10 / steady - 1
        }.max() ?? 0
    }
}
