// The projection (Prop. 1): connected components by union-find, and the mean of each in a fixed order.

// Links only lead to lower pixels of the same component, whatever other threads do meanwhile.
__device__ inline int root_of(const int* parent, int p)
{
    const volatile int* current = parent;
    while (current[p] != p) p = current[p];
    return p;
}

// Links each pixel of the path to its next but one, which keeps paths short. The store may undo what another thread
// has just stored there, but no link is lost: who finds a pixel displaced by its link joins the two itself.
// (Jaiganesh & Burtscher, HPDC 2018, do the same.)
__device__ inline int shortened_root_of(int* parent, int p)
{
    volatile int* current = parent;
    for (;;) {
        const int above = current[p], next = current[above];
        if (next == above) return above;
        current[p] = next;
        p = next;
    }
}

// Links the higher of two roots below the lower. Where another thread has linked it meanwhile, atomicMin keeps the
// lower of both targets, and the two targets remain to be joined.
__device__ inline void join(int* parent, int p, int q)
{
    p = shortened_root_of(parent, p);
    q = shortened_root_of(parent, q);
    while (p != q) {
        const int low = p < q ? p : q, high = p < q ? q : p;
        const int before = atomicMin(&parent[high], low);
        if (before == high) return;
        p = shortened_root_of(parent, low);
        q = shortened_root_of(parent, before);
    }
}

// Leaves in roots [B,H,W] the smallest pixel number of each pixel's component.
// cut_right, cut_down: [B,H,W−1] and [B,H−1,W]
// Blocks: one per image.
extern "C" __global__ void find_roots(const bool* cut_right, const bool* cut_down, int* roots, int height, int width)
{
    const long long image = blockIdx.x;
    const int pixels = height * width;
    int* parent = roots + image * pixels;
    cut_right += image * (pixels - height);
    cut_down += image * (pixels - width);
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) parent[p] = p;
    __syncthreads();
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) {
        const int row = p / width, column = p % width;
        if (column + 1 < width && !cut_right[row * (width - 1) + column]) join(parent, p, p + 1);
        if (row + 1 < height && !cut_down[p]) join(parent, p, p + width);
    }
    __syncthreads();
    for (int p = threadIdx.x; p < pixels; p += blockDim.x) parent[p] = root_of(parent, p);
}

// The end of the run of equal labels that starts at `first`, in ascending labels.
__device__ inline int end_of_run(const int* labels, int first, int count)
{
    int low = first + 1, high = count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (labels[middle] == labels[first])
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// The means of values [B,C,H,W] over the components.
// order: [B,H·W], the pixels sorted by label and then by number
// labels: [B,H·W], sorted
// The thread at a component's first place sums it in raster order and in double precision,
// as the CPU backend does. Blocks: `blocks_per_plane` in a row for every channel of every image.
extern "C" __global__ void average_components(const float* values, const long long* order, const int* labels,
                                              float* means, int channels, int pixels, int blocks_per_plane)
{
    const long long plane = blockIdx.x / blocks_per_plane, image = plane / channels;
    const int first = blockIdx.x % blocks_per_plane * blockDim.x + threadIdx.x;
    values += plane * pixels;
    means += plane * pixels;
    order += image * pixels;
    labels += image * pixels;
    if (first >= pixels || (first > 0 && labels[first - 1] == labels[first])) return;
    const int end = end_of_run(labels, first, pixels);
    double sum = 0;
#pragma unroll 8
    for (int place = first; place < end; ++place) sum += values[order[place]];
    const float mean = float(sum / (end - first));
    for (int place = first; place < end; ++place) means[order[place]] = mean;
}
