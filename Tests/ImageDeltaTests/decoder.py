#!/usr/bin/env python3
"""A second implementation of docs/delta-format.md, written from that page: decoder.py DELTA OUT BASE.tar...

It exists to show that the page is enough. It holds everything in memory and is slow; it checks digests, not bounds.
"""
import ctypes, hashlib, struct, sys, zlib


class Zstd:
    """One streaming decoder of libzstd."""

    class Buffer(ctypes.Structure):
        _fields_ = [("data", ctypes.c_void_p), ("size", ctypes.c_size_t), ("pos", ctypes.c_size_t)]

    lib = ctypes.CDLL("libzstd.so.1")
    lib.ZSTD_createDCtx.restype = ctypes.c_void_p
    lib.ZSTD_decompressStream.restype = ctypes.c_size_t
    lib.ZSTD_decompressStream.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

    def __init__(self):
        self.context = self.lib.ZSTD_createDCtx()

    def decode(self, data):
        out, room = bytearray(), ctypes.create_string_buffer(1 << 17)
        held = ctypes.create_string_buffer(data, len(data))
        source = self.Buffer(ctypes.cast(held, ctypes.c_void_p), len(data), 0)
        while True:
            target = self.Buffer(ctypes.cast(room, ctypes.c_void_p), len(room), 0)
            code = self.lib.ZSTD_decompressStream(self.context, ctypes.byref(target), ctypes.byref(source))
            assert not self.lib.ZSTD_isError(ctypes.c_size_t(code)), "zstd"
            out += room.raw[: target.pos]
            if source.pos == source.size and target.pos < target.size:
                return bytes(out)


class Reader:
    def __init__(self, data=b""):
        self.data, self.at = data, 0

    def feed(self, data):
        assert self.at == len(self.data), "bytes left over"
        self.data, self.at = data, 0

    def take(self, count):
        assert count <= len(self.data) - self.at, "ends early"
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self):
        value = self.varint()
        return (value >> 1) ^ -(value & 1)


def xxh64(data):
    mask = (1 << 64) - 1
    p1, p2, p3, p4, p5 = (
        11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261)
    rotate = lambda v, n: (v << n | v >> (64 - n)) & mask
    round_ = lambda lane, word: rotate((lane + word * p2) & mask, 31) * p1 & mask
    at = 0
    if len(data) >= 32:
        lanes = [(p1 + p2) & mask, p2, 0, -p1 & mask]
        while at + 32 <= len(data):
            lanes = [round_(lane, word) for lane, word in zip(lanes, struct.unpack_from("<4Q", data, at))]
            at += 32
        value = sum(rotate(lane, n) for lane, n in zip(lanes, (1, 7, 12, 18))) & mask
        for lane in lanes:
            value = ((value ^ round_(0, lane)) * p1 + p4) & mask
    else:
        value = p5
    value = (value + len(data)) & mask
    while at + 8 <= len(data):
        value = (rotate(value ^ round_(0, struct.unpack_from("<Q", data, at)[0]), 27) * p1 + p4) & mask
        at += 8
    if at + 4 <= len(data):
        value = (rotate(value ^ struct.unpack_from("<I", data, at)[0] * p1 & mask, 23) * p2 + p3) & mask
        at += 4
    for byte in data[at:]:
        value = rotate(value ^ byte * p5 & mask, 11) * p1 & mask
    value = (value ^ value >> 33) * p2 & mask
    value = (value ^ value >> 29) * p3 & mask
    return (value ^ value >> 32).to_bytes(8, "big")


class Map:
    def __init__(self, entries):
        self.entries = []
        for base, target, length in sorted(entries, key=lambda e: (e[0], -e[2], e[1])):
            if self.entries:
                last = self.entries[-1]
                if last[0] + last[2] >= base + length and last[2] > length:
                    continue
            self.entries.append((base, target, length))

    def __call__(self, value):
        at = sum(1 for entry in self.entries if entry[0] <= value)
        for base, target, length in reversed(self.entries[max(0, at - 8) : at]):
            if value < base + length:
                return target + value - base
        before = self.entries[at - 1] if at else None
        after = self.entries[at] if at < len(self.entries) else None
        if not before and not after:
            return value
        if not before or after and after[0] - value < value - (before[0] + before[2] - 1):
            return after[1] - (after[0] - value)
        return before[1] + value - before[0]


class Layout:
    def __init__(self, control):
        self.segments = [[control.varint() for _ in range(4)] for _ in range(control.varint())]
        self.index = control.varint()
        self.low = min((s[2] for s in self.segments), default=1 << 63)
        self.high = max((s[2] + s[3] for s in self.segments), default=0)

    def address(self, offset):
        for start, size, address, _ in self.segments:
            if start <= offset < start + size:
                return offset - start + address
        return None

    def border(self, offset):
        borders = [b for s in self.segments for b in (s[0], s[0] + s[1]) if b > offset]
        return min(borders) - offset if borders else 1 << 62


def x86_tail(b):
    """Bytes after an operand, by the bytes before it, the nearest first."""
    b1, b2, b3, b4, b5, b6 = b
    two = lambda: 1 if b2 in (0x70, 0x71, 0x72, 0x73, 0xA4, 0xAC, 0xBA, 0xC2, 0xC4, 0xC5, 0xC6) else 0
    if b1 & 0xC7 == 5:
        if b3 == 0x0F:
            return two()
        if b4 == 0x0F and b3 in (0x38, 0x3A):
            return b3 >> 1 & 1
        if b4 == 0xC5:
            return two()
        for kind in ([b4 & 31] if b5 == 0xC4 else []) + ([b5 & 7] if b6 == 0x62 else []):
            if 1 <= kind <= 3:
                return (two(), 0, 1)[kind - 1]
        wide = 2 if b3 == 0x66 else 4
        if b2 in (1, 3, 0x63, 0x8D, 0x8F, 0xFE, 0xFF) or 0x84 <= b2 <= 0x8B or 0xD0 <= b2 <= 0xD3 or 0xD8 <= b2 <= 0xDF:
            return 0
        if 8 <= b2 < 0x3C and b2 & 4 == 0 and (b2 & 8 or b2 >= 0x10):
            return 0
        if b2 in (0x6B, 0x80, 0x83, 0xC0, 0xC1, 0xC6):
            return 1
        if b2 in (0x69, 0x81, 0xC7):
            return wide
        if b2 in (0xF6, 0xF7):
            return (1 if b2 == 0xF6 else wide) if b1 & 0x38 < 0x10 else 0
        return None
    if b1 in (0xE8, 0xE9) or b1 & 0xF0 == 0x80 and b2 == 0x0F:
        return 0
    return None


def sign(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


class Predictor:
    def __init__(self, machine, base, new, symbols, mapping, names):
        self.machine, self.base, self.new = machine, base, new
        self.symbols, self.map, self.names = symbols, mapping, names
        self.forget()

    def forget(self):
        self.memory = {}

    def slot(self, old):
        return (old * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 49

    def target(self, old):
        known = self.memory.get(self.slot(old))
        return known[1] if known and known[0] == old else self.map(old)

    def learn(self, block):
        for old, predicted, actual in self.sites:
            now = actual(block)
            if now is not None and now != predicted and self.new.low <= now < self.new.high:
                self.memory[self.slot(old)] = (old, now)

    def put(self, block, at, form, value):
        struct.pack_into(form, block, at, value & (1 << 8 * struct.calcsize(form)) - 1)

    def predict(self, block, before, mode, old, new):
        self.sites = []
        if mode == 1 and self.machine == 62:
            self.x86(block, before, old, new)
        elif mode == 1:
            self.arm(block, old, new)
        elif mode == 2 and self.base.address(old) is not None:
            for at in range(-self.base.address(old) % 8, len(block) - 7, 8):
                self.absolute(block, at)
        elif mode in (3, 4) and self.base.address(old) is not None:
            for at in range(-self.base.address(old) % 4, len(block) - 3, 4):
                p, q = self.base.address(old + at), self.new.address(new + at)
                if mode == 4:
                    p, q = self.base.index, self.new.index
                if p is None or q is None:
                    break
                distance = struct.unpack_from("<i", block, at)[0]
                if distance and self.base.low <= p + distance < self.base.high:
                    self.distance(block, at, p + distance, q)
        elif mode == 5:
            self.symbol(block, old)

    def absolute(self, block, at):
        value = struct.unpack_from("<q", block, at)[0]
        if self.base.low <= value < self.base.high and value >= 4096:
            moved = self.target(value)
            self.put(block, at, "<Q", moved)
            self.sites.append((value, moved, lambda b: struct.unpack_from("<q", b, at)[0]))

    def distance(self, block, at, old, origin):
        moved = self.target(old)
        self.put(block, at, "<I", moved - origin)
        self.sites.append((old, moved, lambda b: origin + struct.unpack_from("<i", b, at)[0]))

    def symbol(self, block, old):
        for start, size, names, names_size, new_names in self.symbols:
            if start <= old < start + size:
                for at in range(-((old - start) % 24), len(block), 24):
                    if 0 <= at <= len(block) - 4:
                        name = struct.unpack_from("<I", block, at)[0]
                        if 0 < name < names_size:
                            self.put(block, at, "<I", self.names(names + name) - new_names)
                    if 0 <= at + 8 <= len(block) - 8:
                        self.absolute(block, at + 8)
                return

    def x86(self, block, before, old, new):
        source = before + bytes(block)
        at = 0
        while at + 4 <= len(block):
            tail = x86_tail(source[at : at + 6][::-1])
            p, q = self.base.address(old + at), self.new.address(new + at)
            if tail is not None and p is not None and q is not None:
                target = p + 4 + tail + struct.unpack_from("<i", source, at + 6)[0]
                if self.base.low <= target < self.base.high:
                    self.distance(block, at, target, q + 4 + tail)
                    at += 4
                    continue
            at += 1

    def arm(self, block, old, new):
        first = -old % 4
        if (new + first) % 4:
            return
        for at in range(first, len(block) - 3, 4):
            word = struct.unpack_from("<I", block, at)[0]
            branch, page = word & 0x7C000000 == 0x14000000, word & 0x9F000000 == 0x90000000
            if not branch and not page:
                continue
            p, q = self.base.address(old + at), self.new.address(new + at)
            if p is None or q is None:
                return
            (self.branch if branch else self.page)(block, at, word, p, q)

    def branch(self, block, at, word, p, q):
        target = p + sign(word, 26) * 4
        if not self.base.low <= target < self.base.high:
            return
        moved = self.target(target)
        self.put(block, at, "<I", word & 0xFC000000 | (moved - q >> 2) & 0x3FFFFFF)

        def actual(b):
            now = struct.unpack_from("<I", b, at)[0]
            return q + sign(now, 26) * 4 if now & 0x7C000000 == 0x14000000 else None

        self.sites.append((target, moved, actual))

    def page(self, block, at, word, p, q):
        pages = lambda w: sign((w >> 5 & 0x7FFFF) << 2 | w >> 29 & 3, 21)
        low, pair, shift = 0, None, 0
        for other in range(at + 4, min(at + 28, len(block) - 3), 4):
            near = struct.unpack_from("<I", block, other)[0]
            if near >> 5 & 31 != word & 31:
                continue
            if near & 0xFFC00000 == 0x91000000:
                shift = 0
            elif near & 0x3B000000 == 0x39000000:
                shift = near >> 30
                if near >> 26 & 1 and near >> 23 & 1 and shift == 0:
                    shift = 4
            else:
                continue
            low, pair = (near >> 10 & 0xFFF) << shift, other
            break
        target = (p & ~0xFFF) + pages(word) * 4096 + low
        if not self.base.low <= target < self.base.high + 4096:
            return
        moved = self.target(target)
        distance = (moved >> 12) - (q >> 12)
        self.put(block, at, "<I", word & 0x9F00001F | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5)
        if pair is None:
            return
        near = struct.unpack_from("<I", block, pair)[0]
        self.put(block, pair, "<I", near & ~(0xFFF << 10) | ((moved & 0xFFF) >> shift) << 10)

        def actual(b):
            now = struct.unpack_from("<I", b, at)[0]
            if now & 0x9F000000 != 0x90000000:
                return None
            field = (struct.unpack_from("<I", b, pair)[0] >> 10 & 0xFFF) << shift
            return (q & ~0xFFF) + pages(now) * 4096 + field + (moved & (1 << shift) - 1)

        self.sites.append((target, moved, actual))


LEVELS = {1: (4, 4, 8, 4), 2: (4, 5, 16, 8), 3: (4, 6, 32, 32), 4: (4, 4, 16, 16), 5: (8, 16, 32, 32),
          6: (8, 16, 128, 128), 7: (8, 32, 128, 256), 8: (32, 128, 258, 1024), 9: (32, 258, 258, 4096)}
LENGTHS = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]
DISTANCES = [1, 2, 3, 4] + [1 + (2 + half << k) for k in range(1, 14) for half in (0, 1)]
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


def code_of(bases, value):
    return max(i for i, base in enumerate(bases) if base <= value)


class Deflater:
    def __init__(self, content, level, bits, blocks, exceptions):
        self.content, self.level, self.bits = content, level, bits
        self.good, self.lazy, self.nice, self.chain = LEVELS[level]
        self.head, self.previous, self.passed = {}, {}, 0
        self.out, self.value, self.count = bytearray(), 0, 0
        self.at = symbol = 0
        self.found = None
        for number, (symbols, dynamic) in enumerate(blocks):
            tokens, start = [], self.at
            for _ in range(symbols):
                token, following = self.choose()
                if symbol in exceptions:
                    forced = exceptions[symbol]
                    following = following if forced[0] == 1 else None
                    token = forced
                self.accept(token, following)
                tokens.append(token)
                symbol += 1
            self.block(tokens, start, dynamic, number == len(blocks) - 1)
        assert self.at == len(content), "blocks end early"
        if self.count:
            self.out.append(self.value & 255)

    def enter(self, end):
        while self.passed < end:
            at = self.passed
            self.passed += 1
            if at + 3 <= len(self.content):
                a, b, c = self.content[at : at + 3]
                s = 5 if self.bits == 15 else 6
                key = (a << 2 * s ^ b << s ^ c) & (1 << self.bits) - 1
                self.previous[at] = self.head.get(key, 0)
                self.head[key] = at

    def search(self, at, above):
        self.enter(at + 1)
        content, longest = self.content, min(258, len(self.content) - at)
        if longest < 3 or above >= longest:
            return (1, 0)
        place = self.previous.get(at, 0)
        limit = max(0, at - 32506)
        if place == 0 or place < limit:
            return (1, 0)
        left = self.chain // 4 if above >= self.good else self.chain
        best, start = above, 0
        while True:
            length = 0
            while length < longest and content[place + length] == content[at + length]:
                length += 1
            if length > best:
                best, start = length, place
                if length >= min(self.nice, longest):
                    break
            place = self.previous.get(place, 0)
            left -= 1
            if place <= limit or left == 0:
                break
        if best <= above or self.level >= 4 and best == 3 and at - start > 4096:
            return (1, 0)
        return (best, at - start)

    def choose(self):
        match = self.found or self.search(self.at, 2)
        if self.level >= 4 and 1 < match[0] < self.lazy and self.at + 1 < len(self.content):
            after = self.search(self.at + 1, match[0])
            if after[0] > match[0]:
                return (1, 0), after
        return match, None

    def accept(self, token, following):
        end = self.at + token[0]
        if self.level >= 4 or token[0] <= self.lazy:
            self.enter(end)
        else:
            self.enter(self.at + 1)
            self.passed = max(self.passed, end)
        self.at, self.found = end, following

    def put(self, value, count):
        self.value |= value << self.count
        self.count += count
        while self.count >= 8:
            self.out.append(self.value & 255)
            self.value >>= 8
            self.count -= 8

    def block(self, tokens, start, dynamic, last):
        self.put(1 if last else 0, 1)
        self.put(2 if dynamic else 1, 2)
        literals, distances, at = [0] * 286, [0] * 30, start
        literals[256] = 1
        for length, distance in tokens:
            if length == 1:
                literals[self.content[at]] += 1
            else:
                literals[257 + code_of(LENGTHS, length)] += 1
                distances[code_of(DISTANCES, distance)] += 1
            at += length
        if dynamic:
            (ll, llast), (dl, dlast) = tree(literals, 15), tree(distances, 15)
            sent = runs(ll[: llast + 1]) + runs(dl[: dlast + 1])
            counts = [0] * 19
            for symbol, _, _ in sent:
                counts[symbol] += 1
            lengths, _ = tree(counts, 7)
            kept = max(4, 1 + max(i for i, s in enumerate(ORDER) if lengths[s]))
            self.put(llast - 256, 5)
            self.put(dlast, 5)
            self.put(kept - 4, 4)
            for symbol in ORDER[:kept]:
                self.put(lengths[symbol], 3)
            codes = canonical(lengths)
            for symbol, extra, width in sent:
                self.put(codes[symbol], lengths[symbol])
                self.put(extra, width)
        else:
            ll = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
            dl = [5] * 30
        lc, dc, at = canonical(ll), canonical(dl), start
        for length, distance in tokens:
            if length == 1:
                self.put(lc[self.content[at]], ll[self.content[at]])
            else:
                i = code_of(LENGTHS, length)
                self.put(lc[257 + i], ll[257 + i])
                self.put(length - LENGTHS[i], 0 if i < 8 or i == 28 else (i - 4) // 4)
                j = code_of(DISTANCES, distance)
                self.put(dc[j], dl[j])
                self.put(distance - DISTANCES[j], 0 if j < 4 else (j - 2) // 2)
            at += length
        self.put(lc[256], ll[256])


def tree(counts, limit):
    size = len(counts)
    counts = counts + [0] * size
    depth, parent = [0] * 2 * size, [0] * 2 * size
    heap, last = [s for s in range(size) if counts[s]], max((s for s in range(size) if counts[s]), default=-1)
    while len(heap) < 2:
        symbol = last + 1 if last < 2 else 0
        last = max(last, symbol)
        counts[symbol] = 1
        heap.append(symbol)
    heap = [None] + heap
    precedes = lambda a, b: counts[a] < counts[b] or counts[a] == counts[b] and depth[a] <= depth[b]

    def sift(at):
        value, child = heap[at], 2 * at
        while child < len(heap):
            if child + 1 < len(heap) and precedes(heap[child + 1], heap[child]):
                child += 1
            if precedes(value, heap[child]):
                break
            heap[at], at, child = heap[child], child, 2 * child
        heap[at] = value

    for at in range((len(heap) - 1) // 2, 0, -1):
        sift(at)
    taken, node = [], size
    while len(heap) > 2:
        first = heap[1]
        heap[1] = heap[-1]
        heap.pop()
        sift(1)
        second = heap[1]
        taken += [first, second]
        counts[node] = counts[first] + counts[second]
        depth[node] = max(depth[first], depth[second]) + 1
        parent[first] = parent[second] = node
        heap[1] = node
        node += 1
        sift(1)
    lengths, deep, per, excess = [0] * size, [0] * 2 * size, [0] * (limit + 2), 0
    for node in reversed(taken):
        deep[node] = deep[parent[node]] + 1
        if deep[node] > limit:
            deep[node] = limit
            excess += 1
        if node < size:
            lengths[node] = deep[node]
            per[deep[node]] += 1
    if excess:
        while excess > 0:
            bits = max(b for b in range(1, limit) if per[b])
            per[bits] -= 1
            per[bits + 1] += 2
            per[limit] -= 1
            excess -= 2
        leaves = [n for n in taken if n < size]
        for bits in range(limit, 0, -1):
            for leaf in leaves[: per[bits]]:
                lengths[leaf] = bits
            leaves = leaves[per[bits] :]
    return lengths, last


def runs(lengths):
    out, at, last = [], 0, None
    while at < len(lengths):
        value, count = lengths[at], 0
        longest = 138 if value == 0 else 6 if value == last else 7
        while at + count < len(lengths) and count < longest and lengths[at + count] == value:
            count += 1
        if count < (3 if value == 0 or value == last else 4):
            out += [(value, 0, 0)] * count
        elif value:
            if value != last:
                out.append((value, 0, 0))
            out.append((16, count - (3 if value == last else 4), 2))
        else:
            out.append((17, count - 3, 3) if count <= 10 else (18, count - 11, 7))
        at += count
        last = value
    return out


def canonical(lengths):
    codes, code = [0] * len(lengths), 0
    for bits in range(1, 16):
        for symbol, length in enumerate(lengths):
            if length == bits:
                codes[symbol] = int(format(code, "0%db" % bits)[::-1], 2)
                code += 1
        code <<= 1
    return codes


class Decoder:
    def __init__(self, delta, base):
        self.base, self.out, self.position = base, bytearray(), 0
        file = Reader(delta)
        assert file.take(8) == b"HFDELTA\n" and file.take(1) == b"\x02", "another format"
        header = file.take(file.varint())
        assert file.take(8) == hashlib.sha256(header).digest()[:8], "header digest"
        h = Reader(header)
        self.size, self.digest = h.varint(), h.take(32)
        lists, sizes = 0, []
        for _ in range(h.varint()):
            sizes.append(h.varint())
            h.take(32), h.varint(), h.take(8)
            if h.take(1)[0]:
                lists += h.varint()
        assert sum(sizes) == len(base), "wrong base"
        used, end = bytearray(), 0
        for _ in range(h.varint()):
            start = end + h.varint()
            end = start + h.varint()
            used += base[start:end]
        span = max(262144, -(-len(used) // 64))
        for at in range(0, len(used), span):
            assert xxh64(bytes(used[at : at + span])) == h.take(8), "wrong base"
        assert h.at == len(header)
        file.take(lists)
        self.cover = self.literal = 0
        self.file = None
        decoders, self.streams = [Zstd() for _ in range(6)], [Reader() for _ in range(6)]
        self.control, self.gaps, self.runs, self.values, self.literals, self.modes = self.streams
        while len(self.out) < self.size:
            self.end = len(self.out) + file.varint()
            mask = file.take(1)[0]
            lengths = [(n, file.varint()) for n in range(6) if mask >> n & 1]
            digest = file.take(8)
            for stream in self.streams:
                stream.feed(b"")
            for n, length in lengths:
                self.streams[n].feed(decoders[n].decode(file.take(length)))
            self.gap = self.run = 0
            if self.file:
                self.file.predictor.forget()
            while len(self.out) < self.end:
                self.step()
            assert hashlib.sha256(self.out).digest()[:8] == digest, "chapter digest"
        assert file.at == len(delta)
        assert hashlib.sha256(self.out).digest() == self.digest, "diffID"

    def correct(self, block):
        at, corrected = 0, False
        while at < len(block):
            if not self.run:
                if self.gaps.at == len(self.gaps.data):
                    break
                self.gap, self.run = self.gaps.varint(), self.runs.varint()
            step = min(self.gap, len(block) - at)
            self.gap -= step
            at += step
            while at < len(block) and self.run and not self.gap:
                block[at] = block[at] + self.values.take(1)[0] & 255
                self.run -= 1
                at += 1
                corrected = True
        return corrected

    def step(self):
        room = self.end - len(self.out)
        if self.file:
            self.predicted(room)
        elif self.cover:
            count = min(self.cover, room)
            block = bytearray(self.base[self.position : self.position + count])
            self.correct(block)
            self.out += block
            self.position += count
            self.cover -= count
        elif self.literal:
            count = min(self.literal, room)
            self.out += self.literals.take(count)
            self.literal -= count
        else:
            self.cover, self.literal = self.control.varint(), self.control.varint()
            if self.cover:
                self.position += self.control.signed()
            elif not self.literal:
                [self.start_file, self.packed][self.control.varint()]()

    def start_file(self):
        file = self.file = type("File", (), {})()
        c = self.control
        file.length, file.start = c.varint(), self.position + c.signed()
        self.position = file.start
        machine, base, new = c.varint(), Layout(c), Layout(c)
        symbols = [[c.varint() for _ in range(5)] for _ in range(c.varint())]
        entries, end, displacement, names = [], 0, 0, []
        for _ in range(c.varint()):
            address = end + c.varint()
            displacement += c.signed()
            length = c.varint()
            entries.append((address, address + displacement, length))
            end = address + length
        explicit = bool(entries)
        file.made = file.described = file.last = 0
        self.part()
        if not explicit:
            at = 0
            for length, literal, place in file.covers:
                done = 0
                while length >= 32 and done < length:
                    step = min(length - done, base.border(place + done), new.border(at + done))
                    old, now = base.address(place + done), new.address(at + done)
                    if old is not None and now is not None:
                        entries.append((old, now, step))
                    done += step
                if length and any(place < s[2] + s[3] and place + length > s[2] for s in symbols):
                    names.append((place, at, length))
                at += length + literal
        file.predictor = Predictor(machine, base, new, symbols, Map(entries), Map(names))

    def part(self):
        file, file.covers = self.file, []
        for _ in range(self.control.varint()):
            cover, literal = self.control.varint(), self.control.varint()
            if cover:
                file.last += self.control.signed()
            file.covers.append([cover, literal, file.last])
            file.last += cover
            file.described += cover + literal
        file.pending = [list(c) for c in file.covers]

    def predicted(self, room):
        file = self.file
        while file.pending and not file.pending[0][0] and not file.pending[0][1]:
            file.pending.pop(0)
        if not file.pending:
            return self.part()
        cover = file.pending[0]
        if cover[0]:
            count = min(4096, cover[0])
            start = file.start + cover[2]
            before = self.base[start - min(6, cover[2]) : start].rjust(6, b"\0")
            block = bytearray(self.base[start : start + count])
            file.predictor.predict(block, before, self.modes.take(1)[0], cover[2], file.made)
            if self.correct(block):
                file.predictor.learn(block)
            self.out += block
            cover[0] -= count
            cover[2] += count
        else:
            count = min(cover[1], room)
            self.out += self.literals.take(count)
            cover[1] -= count
        file.made += count
        if file.made == file.length:
            self.file = None

    def packed(self):
        c = self.control
        flags, size, length = c.varint(), c.varint(), c.varint()
        source, position = self.base, self.position
        if flags & 1:
            start = self.position + c.signed()
            self.position = start + c.varint()
            source, position = zlib.decompress(self.base[start : self.position], -15), 0
            assert len(source) == c.varint()
        settings = c.varint()
        blocks = [divmod(c.varint(), 2) for _ in range(c.varint())]
        exceptions, next_ = {}, 0
        for _ in range(c.varint()):
            symbol, repeat = next_ + c.varint(), c.varint()
            exceptions[symbol] = (repeat, c.varint() if repeat > 1 else 0)
            next_ = symbol + 1
        content = bytearray()
        while len(content) < size:
            cover, literal = c.varint(), c.varint()
            if cover:
                position += c.signed()
                block = bytearray(source[position : position + cover])
                self.correct(block)
                content += block
                position += cover
            content += self.literals.take(literal)
        if not flags & 1:
            self.position = position
        stream = Deflater(bytes(content), settings // 2, 15 + settings % 2, blocks, exceptions).out
        assert len(stream) == length, "length of a packed member"
        self.out += stream
        if flags & 2:
            self.out += struct.pack("<II", zlib.crc32(content), len(content))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    data = b"".join(open(path, "rb").read() for path in sys.argv[3:])
    result = Decoder(open(sys.argv[1], "rb").read(), data).out
    open(sys.argv[2], "wb").write(result)
