// One edge and one pixel of the iteration (Eq. 5): all the arithmetic the kernels share.
//
// Every operation is the CPU backend's, in its order and correctly rounded, so that the results are the same bits.
// This needs a compilation without fused multiply-add. CHANNELS is 1 or 3, INERTIA whether u moves with inertia.

#pragma once

struct Factors {
    float kappa, nu;
    float u_step;  // (1−β)κα
    float z_step;  // αν
    float inertia; // β
};

// An edge joins a pixel with the next one to the right or below.
struct Edge {
    float z[CHANNELS];
    float scale;  // of a colour edge: γ = scale·z, with scale = κ(1 − 1/‖z‖)₊ (Eq. 8)
};

// 1/√squared for squared ≥ 1, both operations correctly rounded.
__device__ inline float reciprocal_root(float squared)
{
#ifdef __CUDA_ARCH__
    return __frcp_rn(__fsqrt_rn(squared));
#else
    return 1.0f / sqrtf(squared);
#endif
}

__device__ inline float gamma_of(const Edge& edge, int c, const Factors& factors)
{
    const float z = edge.z[c];
    return CHANNELS == 1 ? factors.kappa * (z - fminf(fmaxf(z, -1.0f), 1.0f)) : edge.scale * z;
}

// To be called after every change of z.
__device__ inline void rescale(Edge& edge, const Factors& factors)
{
    if (CHANNELS == 1) return;
    float squared = edge.z[0] * edge.z[0];
    for (int c = 1; c < CHANNELS; ++c) squared = squared + edge.z[c] * edge.z[c];
    edge.scale = factors.kappa * (1.0f - reciprocal_root(fmaxf(squared, 1.0f)));
}

__device__ inline bool in_support(const Edge& edge)
{
    return CHANNELS == 1 ? fabsf(edge.z[0]) > 1.0f : edge.scale > 0.0f;
}

// r = Du − γ in one channel.
__device__ inline float residual(const Edge& edge, int c, float here, float there, const Factors& factors)
{
    return (there - here) - gamma_of(edge, c, factors);
}

// (5b) and (5c): moves z, leaves r in all channels, and returns whether the edge is now in the support. An edge that
// does not exist stays at z = 0.
__device__ inline bool climb(Edge& edge, const float* here, const float* there, bool exists, const Factors& factors,
                             float* r)
{
    for (int c = 0; c < CHANNELS; ++c) {
        r[c] = exists ? residual(edge, c, here[c], there[c], factors) : 0.0f;
        edge.z[c] = edge.z[c] + factors.z_step * r[c];
    }
    rescale(edge, factors);
    return in_support(edge);
}

// (5a): the new u of a pixel in one channel, from r of the four edges around it; velocity is what u moves by.
__device__ inline float descend(float u, float& velocity, float x, float from_left, float to_right, float from_above,
                                float to_below, const Factors& factors)
{
    const float adjoint = ((from_left - to_right) + from_above) - to_below;
    const float descent = factors.u_step * ((u - x) + factors.nu * adjoint);
    if (!INERTIA) return u - descent;
    velocity = factors.inertia * velocity - descent;
    return u + velocity;
}
