"""Reads frames by number with decord or torchcodec in a Python that has them: started by containers.py, knows no tpn.

Reads a JSON line with the decoder's name, then one per run: a path and frame numbers; answers each with the processor
time (all threads) of opening the file and reading the frames as RGB arrays.
"""

import json
import sys
import time


def with_decord(path, numbers):
    import decord

    return decord.VideoReader(path, num_threads=1).get_batch(numbers).asnumpy()


def with_torchcodec(path, numbers):
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")  # exact, its default
    return decoder.get_frames_at(numbers).data.numpy()


def main() -> None:
    read = {"decord": with_decord, "torchcodec": with_torchcodec}[json.loads(sys.stdin.readline())["decoder"]]
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        started = time.process_time()
        try:
            shape = read(job["path"], job["numbers"]).shape
        except Exception as error:
            print(json.dumps({"error": str(error)[:200]}), flush=True)
            continue
        print(json.dumps({"cpu": time.process_time() - started, "shape": list(shape)}), flush=True)


if __name__ == "__main__":
    main()
